"""What a model is read: short texts of our own, in English, Chinese and Python, plain enough for any language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Text(Record):
    """What is read. given: what stands before it and is not asked, such as a prompt."""

    text: str
    given: str = ""


_STORY = """Anna and her brother Tom lived with their grandmother in a small house at the edge of the forest. Every \
morning Tom went to the well to get water, and Anna fed the chickens. One day in winter Tom came back \
without any water. "The well is frozen," he said. "What shall we do?"

"Take the axe and break the ice," said the grandmother.

So Tom took the axe, and Anna went with him. They walked through the deep snow to the well. Tom lifted the \
axe and struck the ice, once, twice, three times. At last the ice broke, and they could see the dark water \
below it. Anna let the bucket down on its rope, and when she pulled it up again, it was full.

"Look," said Anna, "there is something in the bucket!" It was a small silver ring. They ran home and showed \
the ring to their grandmother. The grandmother looked at the ring for a long time, and then she began to \
smile. "I lost this ring in the well when I was as young as you are, Anna," she said. "Your grandfather gave \
it to me."
"""
_RIVER = """A river begins where water gathers. Rain falls on the hills, runs down the slopes in small streams, and \
the streams meet in the valley. At first the river is narrow and fast. It cuts into the rock and carries sand \
and stones away. Further down the land is flat, and the river becomes wide and slow. It drops the sand that \
it has carried, so that new land grows along its banks. Where the river meets the sea, it often divides into \
several arms.

People have always lived near rivers. The water of a river can be used to drink, to cook, to wash and to \
grow food. Boats carried grain and wood from one town to the next long before there were roads. Many of the \
largest cities in the world stand on a river: London on the Thames, Paris on the Seine, Cairo on the Nile, \
and Shanghai near the mouth of the Yangtze.

A river can also be dangerous. When the snow melts in the spring, or when it rains for many days, the water \
rises and the river floods the fields beside it. For this reason people build dams and walls. A dam holds \
the water back, and the water can be used to make electricity. But a dam also stops the fish that swim up \
the river to lay their eggs, and it holds back the sand that once made the fields rich."""
_CODE = '''import json
from pathlib import Path


class Account:
    """A bank account with a balance that never becomes negative."""

    def __init__(self, owner, balance=0):
        self.owner = owner
        self.balance = balance

    def deposit(self, amount):
        if amount <= 0:
            raise ValueError("amount must be positive")
        self.balance += amount
        return self.balance

    def withdraw(self, amount):
        if amount <= 0:
            raise ValueError("amount must be positive")
        if amount > self.balance:
            raise ValueError("not enough money")
        self.balance -= amount
        return self.balance


def load_accounts(path):
    """Read all accounts from a JSON file."""
    with open(path) as file:
        data = json.load(file)
    return [Account(item["owner"], item["balance"]) for item in data]


def save_accounts(path, accounts):
    """Write all accounts to a JSON file."""
    data = [{"owner": account.owner, "balance": account.balance} for account in accounts]
    with open(path, "w") as file:
        json.dump(data, file, indent=2)


def main():
    path = Path("accounts.json")
    accounts = load_accounts(path)
    for account in accounts:
        account.deposit(10)
        print(account.owner, account.balance)
    save_accounts(path, accounts)


if __name__ == "__main__":
    main()
'''
_CHINESE = (
    "水是生命之源。地球表面大约百分之七十被水覆盖，但是其中大部分是海水，不能直接饮用。人们喝的水主要来自河流、湖泊和地下水。"
    "太阳把海水晒热，水变成水蒸气升到空中，遇冷以后变成云，再变成雨或者雪落到地面上。雨水流进小溪，小溪流进河流，河流最后又流回大海。这个过程叫做水循环。"
    "中国有很多河流，其中最长的是长江，第二长的是黄河。长江从西向东流，经过重庆、武汉、南京和上海，最后流入东海。"
)
# In the order in which they are read: a model that is plainly worse need not read the later ones.
BUILT_IN: Mapping[str, Text] = {
    "story": Text(_STORY),
    "river": Text(_RIVER),
    "code": Text(_CODE),
    "chinese": Text(_CHINESE),
}
# Questions that any chat model answers, and whole answers.
TALKS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many days are in a week?", "There are seven days in a week."),
    ("What is 2 + 2?", "2 + 2 = 4."),
    ("中国的首都是哪里？", "中国的首都是北京。"),
)
