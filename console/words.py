"""Chinese words for what the contract says by codes, and how times and amounts are written."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from google.protobuf.message import Message

CHINA = timezone(timedelta(hours=8))

WORDS = {
    "UNSPECIFIED": "未注明",
    # States of whatever is made, approved, used and put away.
    "DRAFT": "草稿",
    "REVIEW": "评审中",
    "ACTIVE": "生效中",
    "RETIRED": "已停用",
    "CLOSED": "已结束",
    "APPROVED": "已批准",
    "PILOT": "试点中",
    "PAUSED": "已暂停",
    "KILLED": "已叫停",
    "READY": "已排定",
    "HANDED_OVER": "已交接",
    "VALID": "有效",
    "DISABLED": "停用",
    "WITHDRAWN": "已撤回",
    "PUSHED": "已推送",
    "ACKNOWLEDGED": "已确认",
    "EXPIRED": "已过期",
    "CANDIDATE": "候选",
    "CHAMPION": "现役",
    "SHADOW": "影子",
    "LIVE": "现役",
    # Files.
    "RECEIVED": "已接收",
    "LOADING": "装载中",
    "LOADED": "已装载",
    "QUARANTINED": "已隔离",
    "SUPERSEDED": "已被替代",
    "LATE": "迟到",
    "VOLUME": "数据量异常",
    "REJECT_RATE": "拒收率过高",
    "BROKEN_FORMAT": "格式有误",
    "INTEGRITY": "完整性有误",
    "OVERLAP": "内容重叠",
    # Channels.
    "SMS": "短信",
    "CALL": "外呼",
    "APP": "手机应用",
    "WEB": "网上营业厅",
    "STORE": "营业厅",
    "ORDER": "工单",
    # Where a customer is at home, and what is warned of.
    "HOME": "居住地",
    "WORK": "工作地",
    "STUDY": "就学地",
    "DECLINE": "消费下降",
    "SILENCE": "沉默",
    "CHURN": "离网",
    "LIFE_CYCLE": "生命周期",
    "VALUE": "价值",
    "ACTIVITY": "活跃度",
    # What is associated.
    "PRODUCT_PRODUCT": "业务与业务",
    "BEARER_PRODUCT": "承载与业务",
    "PERSON_PRODUCT": "客户信息与业务",
    "DATA_VOICE": "数据与语音",
    # Points.
    "OPEN": "进行中",
    "CALCULATED": "已核算",
    "LOCKED": "已锁定",
    "PAID": "已发放",
    "EVENT": "事件得分",
    "REFUND": "退回",
    "TIER": "阶梯",
    "CAP": "封顶",
    "ADJUSTMENT": "调整",
    # Slots and orders.
    "DATA": "数据",
    "PAGE": "页面",
    "ROTATE": "轮播",
    "PRIORITY": "按优先级",
    "CREATED": "已创建",
    "DISPATCHED": "已派发",
    "ACCEPTED": "已接单",
    "CONTACTED": "已接触",
    "RESULT": "已反馈",
    "RETURNED": "已退回",
    "TIMED_OUT": "已超时",
    # System management.
    "USER": "人员",
    "SERVICE_ACCOUNT": "服务账号",
    "PROVINCE": "省",
    "CITY": "市",
    "DISTRICT": "区县",
    "GRID": "网格",
    "DONE": "完成",
    "REFUSED": "拒绝",
    # What came of a contact.
    "RESPONDED": "响应",
    "UNREACHED": "未接通",
}
ALGORITHMS = {
    "logistic_regression": "逻辑回归",
    "svm": "支持向量机",
    "forest": "随机森林",
    "boosting": "梯度提升",
    "rf_cf": "随机森林与协同过滤",
    "lightgbm": "梯度提升",
    "rf_x_lightgbm": "随机森林与梯度提升",
}
FIGURES = {
    "auc": "排序能力",
    "log_loss": "对数损失",
    "brier": "概率误差",
    "top_lift": "首个十分位提升度",
    "ks": "区分度",
    "base_rate": "平均接受率",
    "held_out": "留出客户数",
    "ece": "校准误差",
}


def said(message: Message, name: str) -> str:
    """An enum field's value in Chinese; a value that has no word yet stands as its code."""
    field = message.DESCRIPTOR.fields_by_name[name]
    number = getattr(message, name)
    values = field.enum_type.values_by_number if field.enum_type is not None else {}
    if number not in values:
        return str(number)
    return word(values[number].name.removeprefix(values[0].name.removesuffix("UNSPECIFIED")))


def word(code: str) -> str:
    """A code in Chinese, whatever its case; one without a word as it is."""
    return WORDS.get(code.upper(), code)


def moment(stamp: Any) -> str | None:
    """A Timestamp as 2026-09-30 12:00 in China; None for one that is not set."""
    if not stamp.seconds:
        return None
    return datetime.fromtimestamp(stamp.seconds, CHINA).strftime("%Y-%m-%d %H:%M")


def day(date: Any) -> str | None:
    """A google.type.Date as 2026-09-30; None for one that is not set."""
    return f"{date.year:04d}-{date.month:02d}-{date.day:02d}" if date.year else None


def yuan(fen: int) -> float:
    """Fen as yuan."""
    return fen / 100


def points(milli: int) -> float:
    """Milli-points as points."""
    return milli / 1000
