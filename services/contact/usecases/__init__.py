"""What callers, jobs and streams can ask of contact, told as stories; each opens its transaction and commits it."""

from services.contact.usecases.auctions import Auctions as Auctions
from services.contact.usecases.benefits import Benefits as Benefits
from services.contact.usecases.campaigns import Campaigns as Campaigns
from services.contact.usecases.courier import Courier as Courier
from services.contact.usecases.decisions import Decisions as Decisions
from services.contact.usecases.desk import Desk as Desk
from services.contact.usecases.effects import Effects as Effects
from services.contact.usecases.handovers import Handovers as Handovers
from services.contact.usecases.inflow import Inflow as Inflow
from services.contact.usecases.orders import Orders as Orders
from services.contact.usecases.reach import Audiences as Audiences
from services.contact.usecases.reach import Moments as Moments
from services.contact.usecases.reports import Reports as Reports
from services.contact.usecases.repricing import Repricing as Repricing
from services.contact.usecases.sender import Sender as Sender
from services.contact.usecases.slots import Registry as Registry
from services.contact.usecases.slots import Slots as Slots
from services.contact.usecases.trials import Trials as Trials
from services.contact.usecases.work import Work as Work
