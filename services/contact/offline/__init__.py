"""Offline verbs: files in, files out, by the same domain code as the service's; no database."""

from services.contact.offline.arbitrate import arbitrate as arbitrate
