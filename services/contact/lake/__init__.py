"""Files outside Postgres: Parquet of the lake, as tables in; and the folder in which OCRM finds its hand-over."""

from services.contact.lake.folder import Folder as Folder
from services.contact.lake.folder import Writing as Writing
from services.contact.lake.folder import Written as Written
from services.contact.lake.parquet import LakeFile as LakeFile
from services.contact.lake.parquet import customers as customers
from services.contact.lake.parquet import matrix as matrix
from services.contact.lake.push import Carrier as Carrier
from services.contact.lake.push import carrier as carrier
