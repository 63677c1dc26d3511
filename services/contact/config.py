"""Settings of contact, read once from the environment."""

from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from services.kit.config import ServerSettings


@dataclass(frozen=True)
class Config:
    """What a process of contact needs."""

    server: ServerSettings
    peer_ingest: str = field(metadata={"help": "ingest, host:port (the front door of the mesh)"})
    peer_recommend: str = field(metadata={"help": "recommend, host:port (the front door of the mesh)"})
    ocrm_out: Path = field(metadata={"help": "the folder in which OCRM finds its hand-over"})
    business_timezone: ZoneInfo = field(
        default=ZoneInfo("Asia/Shanghai"), metadata={"help": "zone of business days and quiet hours"}
    )
    peer_points: str = field(
        default="", metadata={"help": "points, host:port; without it orders go to the employee that is given"}
    )
    peer_portrait: str = field(
        default="", metadata={"help": "portrait, host:port; without it no campaign with an audience or a moment bids"}
    )
    ocrm_push: str = field(
        default="",
        metadata={"help": "sftp://, ftp:// or ftps:// folder to which hand-overs are carried; without it OCRM fetches"},
    )
    ocrm_known_hosts: str = field(default="", metadata={"help": "file of known hosts, for sftp"})
    ocrm_key: str = field(default="", metadata={"help": "file with the private key, for sftp"})
    gateway_sms: str = field(default="", metadata={"help": "URL of the SMS gateway; without it recurring SMS wait"})
    gateway_app: str = field(default="", metadata={"help": "URL of the app's gateway"})
    gateway_web: str = field(default="", metadata={"help": "URL of the web hall's gateway"})
    gateway_mall: str = field(default="", metadata={"help": "URL of the online mall's gateway"})
    gateway_lists: str = field(default="", metadata={"help": "folder in which call centre and stores find their lists"})
