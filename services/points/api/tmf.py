"""TM Forum's TMF658 over PointsService: employees as loyalty members, what they earned in a month as their balance."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

import grpc.aio

from lifecircle.points import v1
from services.kit.interceptors import Rights
from services.points.api.asked import Context

_READERS = frozenset({"viewer", "operator", "service"})
RIGHTS: Rights = {"GetLoyaltyBalance": _READERS, "ListLoyaltyBalances": _READERS}
"""Who may call what."""

_PATH = "/tmf-api/loyaltyManagement/v4"


def register(api: v1.PointsServiceServicer, zone: tzinfo, server: grpc.aio.Server) -> None:
    """Adds `api` and its facade to a server; months are those of `zone`."""
    v1.add_PointsServiceServicer_to_server(api, server)
    v1.add_Tmf658ServiceServicer_to_server(Tmf658Api(api, zone), server)


@dataclass(frozen=True)
class Tmf658Api(v1.Tmf658ServiceServicer):
    """The servicer of Tmf658Service; it asks PointsService and renames."""

    api: v1.PointsServiceServicer
    zone: tzinfo

    async def GetLoyaltyBalance(
        self, request: v1.GetLoyaltyBalanceRequest, context: Context
    ) -> v1.GetLoyaltyBalanceResponse:
        """One employee's month."""
        period_id, _, staff_id = request.id.partition(":")
        asked = v1.GetStatementRequest(staff_id=staff_id, period_id=period_id)
        found = (await self.api.GetStatement(asked, context)).statement
        period = await self._period(period_id, context)
        return v1.GetLoyaltyBalanceResponse(**self._balance(period, staff_id, found.milli_points))

    async def ListLoyaltyBalances(
        self, request: v1.ListLoyaltyBalancesRequest, context: Context
    ) -> v1.ListLoyaltyBalancesResponse:
        """A month's employees, the highest first."""
        asked = v1.ListLeaderboardRequest(
            period_id=request.period_id, page_size=request.page_size, page_token=request.page_token
        )
        page = await self.api.ListLeaderboard(asked, context)
        period = await self._period(request.period_id, context)
        balances = [v1.LoyaltyBalance(**self._balance(period, each.staff_id, each.milli_points)) for each in page.lines]
        return v1.ListLoyaltyBalancesResponse(loyalty_balance=balances, next_page_token=page.next_page_token)

    async def _period(self, period_id: str, context: Context) -> v1.Period:
        return (await self.api.GetPeriod(v1.GetPeriodRequest(period_id=period_id), context)).period

    def _balance(self, period: v1.Period, staff_id: str, milli_points: int) -> dict[str, Any]:
        balance_id = f"{period.period_id}:{staff_id}"
        first, last = (date(each.year, each.month, each.day) for each in (period.first_date, period.last_date))
        valid_for = v1.LoyaltyBalance.TimePeriod()
        valid_for.start_date_time.FromDatetime(self._midnight(first))
        valid_for.end_date_time.FromDatetime(self._midnight(last + timedelta(days=1)))
        member = v1.LoyaltyBalance.LoyaltyProgramMemberRef(
            id=staff_id, href=f"{_PATH}/loyaltyProgramMember/{staff_id}", referred_type="LoyaltyProgramMember"
        )
        return {
            "id": balance_id,
            "href": f"{_PATH}/loyaltyBalance/{balance_id}",
            "loyalty_program_member": member,
            "quantity": v1.LoyaltyBalance.Quantity(unit="points", value=milli_points / 1000),
            "valid_for": valid_for,
            "type": "LoyaltyBalance",
        }

    def _midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone)
