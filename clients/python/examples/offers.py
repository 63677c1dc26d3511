"""What the demo's marketing team decides beforehand: the policy that protects customers, and four campaigns."""

from __future__ import annotations

from google.type.date_pb2 import Date

from lifecircle.contact.v1 import CHANNEL_APP, CHANNEL_CALL, CHANNEL_SMS, Campaign, Channel, Offer, Policy

FIRST, LAST = Date(year=2026, month=9, day=1), Date(year=2027, month=12, day=31)

SMS_APP = (CHANNEL_SMS, CHANNEL_APP)
CALLED = (CHANNEL_SMS, CHANNEL_CALL, CHANNEL_APP)

# campaign: (product, pitch, channels, worth in fen, exclusive group)
CAMPAIGNS: dict[str, list[tuple[str, str, tuple[Channel.ValueType, ...], int, str]]] = {
    "流量畅享": [
        ("P01", "10GB流量包首月半价", SMS_APP, 9000, "data"),
        ("P02", "30GB流量包，看剧不限心", SMS_APP, 18000, "data"),
        ("P11", "升级5G极速，换机有礼", CALLED, 15000, ""),
    ],
    "幸福家庭": [
        ("P04", "500M家庭宽带免费上门安装", CALLED, 46000, ""),
        ("P06", "高清互动电视，周末全家看", CALLED, 14000, ""),
        ("P07", "全家亲情套餐，一人付费全家省", CALLED, 16000, ""),
    ],
    "娱乐生活": [
        ("P08", "视频彩铃免费试用一个月", SMS_APP, 5000, ""),
        ("P09", "影视会员，热映抢先看", SMS_APP, 12000, ""),
        ("P10", "音乐会员，演唱会优先购票", SMS_APP, 8000, ""),
    ],
    "数字助手": [
        ("P12", "云盘空间，照片不再删", SMS_APP, 7000, ""),
        ("P15", "移动支付礼包，首单立减", SMS_APP, 6000, ""),
        ("P16", "手机邮箱，出差随身办公", SMS_APP, 4000, ""),
    ],
}


def policy(customers: int) -> Policy:
    """Gives the policy for so many customers: caps by level, channel capacities, quiet hours, 2 % held out for ever."""
    caps = [
        Policy.CustomerCap(level=level, most=most, window_days=30) for level, most in (("A", 1), ("B", 2), ("C", 2))
    ]
    caps.append(Policy.CustomerCap(level="", most=1, window_days=30))
    shares = ((CHANNEL_SMS, 0.60, 5, 10_000), (CHANNEL_CALL, 0.08, 150, 18_000), (CHANNEL_APP, 0.40, 1, 8_000))
    limits = [
        Policy.ChannelLimit(
            channel=channel,
            capacity=int(share * customers),
            cost_fen=cost,
            lift_bps=lift,
            quiet_from_hour=21,
            quiet_to_hour=9,
        )
        for channel, share, cost, lift in shares
    ]
    return Policy(customer_caps=caps, channel_limits=limits, holdout_bps=200)


def campaigns() -> list[Campaign]:
    """Gives the drafts, each with a fifth of its winners held out: 5,000 customers are few for a fair comparison."""
    return [
        Campaign(
            name=name,
            start_date=FIRST,
            end_date=LAST,
            control_bps=2000,
            offers=[
                Offer(product_id=product, content=pitch, channels=channels, worth_fen=worth, exclusive_group=group)
                for product, pitch, channels, worth, group in rows
            ],
        )
        for name, rows in CAMPAIGNS.items()
    ]
