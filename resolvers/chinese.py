"""Sentences in Chinese: how it says each kind of node."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from bitmap_store.expression import Lookalike, Match, Operator, Quantifier
from bitmap_store.literals import float_text
from bitmap_store.values import TagKind
from resolvers.wording import Told, clock, grouped, pieces, quoted

_COMPARED = {
    Operator.EQ: "等于",
    Operator.LT: "小于",
    Operator.LTE: "不大于",
    Operator.GT: "大于",
    Operator.GTE: "不小于",
}
_UNITS = {"day": "天", "hour": "小时", "minute": "分钟", "second": "秒"}


class Chinese:
    """See `wording.Grammar`: clauses stand before 的用户."""

    def sentence(self, clause: str | None, entity: str | None) -> str:
        """……的用户。"""
        who = "用户" if entity is None else entity
        if clause is None:
            return f"所有{who}。"
        return f"{clause}的{who}。" if clause else f"没有任何{who}。"

    def everyone(self) -> str:
        """任意用户。"""
        return "为任意用户"

    def match(self, match: Match, told: Told) -> str:
        """One clause of a tag, by its kind."""
        when, kind = self._when(match), told.kind
        limits = "" if kind in (TagKind.EVENT, TagKind.DATE) else self._given(when)
        score = "" if match.min_score is None else f"（分数不小于{float_text(match.min_score)}）"
        if kind is TagKind.EVENT or match.times is not None:
            of = "" if match.values is None else f"（{self._values(match, told)}）"
            of += "" if match.operator is None else f"（{self._compared(match, told)}）"
            often = "有" if match.times is None else f"有至少{match.times:,}次"
            return f"{_within(when)}{often}{told.name}{of}{score}"
        if match.values is not None:
            link = "包含" if kind is TagKind.CHOICES else "为"
            said = f"{told.name}{link}{self._values(match, told)}"
        elif match.operator is not None:
            said = f"{told.name}{self._compared(match, told)}"
        elif kind is TagKind.DATE and when:
            return f"{told.name}{_within(when)}{score}"
        elif kind in (TagKind.FLAG, None):
            said = f"有{told.name}标签"
        else:
            said = f"{told.name}已知"
        return f"{said}{limits}{score}{self._given(when) if kind is TagKind.DATE else ''}"

    def no_match(self, match: Match, told: Told) -> str:
        """不满足标签的条件：也包括未知的。"""
        if match == Match(match.key) and told.kind is not None:
            if told.kind is TagKind.FLAG:
                return f"没有{told.name}标签"
            return f"没有{told.name}" if told.kind is TagKind.EVENT else f"{told.name}未知"
        return self.not_(self.group(self.match(match, told)))

    def all_of(self, of: Sequence[str]) -> str:
        """……，且……。"""
        return "，且".join(of)

    def any_of(self, of: Sequence[str]) -> str:
        """……，或……。"""
        return "，或".join(of)

    def not_(self, of: str) -> str:
        """不满足……。"""
        return f"不{of}" if of.startswith("属于受众") else f"不满足{_one(of)}"

    def at_least(self, count: int, of: Sequence[str]) -> str:
        """至少满足以下几项中的几项。"""
        return f"至少满足以下{len(of)}项中的{count}项（{'；'.join(of)}）"

    def saved(self, name: str) -> str:
        """属于受众。"""
        return f"属于受众{name}"

    def users(self, ids: Sequence[str], id_kind: str | None) -> str:
        """是用户之一。"""
        kind = "用户ID" if id_kind is None else f"标识{quoted(id_kind)}"
        return f"{kind}为{_quotes(ids)}"

    def at(self, moment: datetime, of: str) -> str:
        """在某时。"""
        return f"截至{_moment(moment)}时符合{_one(of)}"

    def part(self, seed: str, start: str, end: str) -> str:
        """分段。"""
        return f"位于种子{quoted(seed)}的{start}至{end}分段"

    def snapshot(self, id_: str) -> str:
        """属于快照。"""
        return f"属于快照{quoted(id_)}"

    def related(self, relation: str, quantifier: Quantifier, of: str) -> str:
        """关联。"""
        how = {Quantifier.ANY: "至少有一个符合", Quantifier.ALL: "有且全部符合", Quantifier.NONE: "没有一个符合"}
        return f"关联的{quoted(relation)}中{how[quantifier]}{_one(of)}"

    def lookalike(self, node: Lookalike, of: str, but: Sequence[str]) -> str:
        """最相似。"""
        without = f"（不计{'、'.join(but)}）" if but else ""
        if node.threshold is not None:
            return f"与符合{_one(of)}者相似{without}，得分不小于{float_text(node.threshold)}"
        return f"属于与符合{_one(of)}者最相似{without}的{node.size:,}名"

    def group(self, clause: str) -> str:
        """括号。"""
        return f"（{clause}）"

    def _values(self, match: Match, told: Told) -> str:
        return f"{_quotes(match.values or ())}{'及其下级' if told.hierarchical else ''}"

    def _compared(self, match: Match, told: Told) -> str:
        assert match.operator is not None and match.number is not None
        return f"{_COMPARED[match.operator]}{grouped(match.number)}{told.unit or ''}"

    def _when(self, match: Match) -> list[str]:
        found = []
        if match.after is not None:
            found.append(f"{_moment(match.after)}及以后")
        if match.before is not None:
            found.append(f"{_moment(match.before)}以前")
        if match.within is not None:
            until = "" if match.skip is None else f"（不含最近{duration(match.skip)}）"
            found.append(f"最近{duration(match.within)}内{until}")
        if match.ahead is not None:
            found.append(f"未来{duration(match.ahead)}内")
        return found

    def _given(self, when: Sequence[str]) -> str:
        return f"（{_within(when)}获得）" if when else ""


def _one(clause: str) -> str:
    return clause if clause.startswith("（") else f"（{clause}）"


def _within(when: Sequence[str]) -> str:
    return f"在{'、'.join(when)}" if when else ""


def duration(span: timedelta) -> str:
    """时长：1天12小时。"""
    return "".join(f"{amount}{_UNITS[unit]}" for unit, amount in pieces(span))


def _moment(moment: datetime) -> str:
    day = f"{moment.year}年{moment.month}月{moment.day}日"
    time = clock(moment)
    return day if time is None else f"{day}{time}（UTC）"


def _quotes(texts: Sequence[str]) -> str:
    *some, last = map(quoted, texts)
    return f"{'、'.join(some)}或{last}" if some else last
