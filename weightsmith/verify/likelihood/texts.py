"""What a model is read: short texts of our own, in English, Chinese and Python, plain enough for any language model.

A few more are in other languages, for models that may know nothing else.
"""

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
_GERMAN = """Ein Fluss beginnt dort, wo sich Wasser sammelt. Der Regen fällt auf die Hügel und läuft in kleinen \
Bächen die Hänge hinab, und die Bäche treffen sich im Tal. Am Anfang ist der Fluss schmal und schnell. Weiter \
unten ist das Land flach, und der Fluss wird breit und langsam. Menschen haben immer an Flüssen gelebt. Das \
Wasser kann man trinken, man kann damit kochen und waschen, und auf den Feldern wächst damit das Getreide."""
_FRENCH = """Une rivière commence là où l'eau se rassemble. La pluie tombe sur les collines et descend les \
pentes en petits ruisseaux, et les ruisseaux se rejoignent dans la vallée. Au début, la rivière est étroite et \
rapide. Plus bas, le pays est plat, et la rivière devient large et lente. Les hommes ont toujours vécu près des \
rivières. On peut boire leur eau, s'en servir pour cuisiner et pour laver, et arroser les champs."""
_SPANISH = """Un río empieza donde se junta el agua. La lluvia cae sobre las colinas y baja por las laderas en \
pequeños arroyos, y los arroyos se encuentran en el valle. Al principio el río es estrecho y rápido. Más abajo \
la tierra es llana, y el río se vuelve ancho y lento. La gente siempre ha vivido cerca de los ríos. El agua se \
puede beber, sirve para cocinar y para lavar, y con ella crece el trigo en los campos."""
_RUSSIAN = """Река начинается там, где собирается вода. Дождь падает на холмы и стекает по склонам маленькими \
ручьями, и ручьи встречаются в долине. Сначала река узкая и быстрая. Ниже земля становится ровной, и река течёт \
широко и медленно. Люди всегда жили у рек. Воду можно пить, на ней готовят еду, в ней стирают, и ею поливают \
поля."""
_JAPANESE = (
    "川は水が集まるところから始まります。雨は丘に降り、小さな流れとなって斜面を下り、谷で一つになります。はじめ、川は細くて速く流れます。"
    "さらに下ると土地は平らになり、川は広く、ゆっくりと流れるようになります。人々は昔から川の近くに住んできました。"
    "川の水は飲むことができ、料理や洗濯に使うことができ、田や畑の作物を育てます。"
)
_KOREAN = (
    "강은 물이 모이는 곳에서 시작됩니다. 비는 언덕에 내려 작은 시내가 되어 비탈을 따라 흐르고, 시내는 골짜기에서 서로 "
    "만납니다. 처음에 강은 좁고 빠릅니다. 아래로 내려가면 땅이 평평해지고, 강은 넓고 느려집니다. "
    "사람들은 언제나 강 가까이에 살았습니다. 강물은 마실 수 있고, 밥을 짓고 빨래를 하는 데 쓰며, "
    "논과 밭의 곡식을 자라게 합니다."
)
_ARABIC = (
    "يبدأ النهر حيث يتجمع الماء. يسقط المطر على التلال ويجري على السفوح في جداول صغيرة، ثم تلتقي الجداول في الوادي. "
    "في البداية يكون النهر ضيقا وسريعا. وبعد ذلك تصبح الأرض مستوية، ويصبح النهر واسعا وبطيئا. "
    "عاش الناس دائما قرب الأنهار، فهم يشربون من مائها ويطبخون به ويغسلون، وتنمو به الحبوب في الحقول."
)
_BREAD = """Bread is made of flour, water, salt and a little yeast. The flour and the water are mixed first, and then \
the yeast and the salt are added. The baker works the dough with both hands until it is smooth, which takes \
about ten minutes. Then the dough is covered with a cloth and left in a warm place. The yeast eats some of the \
sugar in the flour and makes a gas, and the gas makes the dough rise. After an hour it is twice as large as \
it was before.

The baker presses the air out of the dough, forms it into loaves and lets them rise again. In the meantime \
the oven is heated. A hot oven gives the bread a hard, brown crust, and a little steam keeps the crust from \
becoming hard too early. After half an hour the bread is done. It sounds hollow when you knock on the bottom \
of the loaf. Fresh bread should rest for a while before it is cut, because the inside is still soft and wet.

In many countries bread is eaten every day. In France people buy a long white loaf in the morning; in Germany \
the bread is often dark and heavy, and it is made of rye; in India thin, flat bread is baked on the wall of a \
clay oven."""
_TRAIN = """The train to the north left the station at half past six. It was still dark, and there were only a few \
people in the carriage. A woman was reading a newspaper, and a small boy was asleep with his head against the \
window. I put my bag on the seat beside me and looked out.

"Is this seat free?" asked an old man in a grey coat.

"Yes, of course," I said, and took my bag away.

He sat down slowly and put his hat on his knees. "I have taken this train every Monday for forty years," he \
said after a while. "In the beginning it took five hours. Now it takes less than three. But I liked the old \
train better. You could open the windows, and in summer you could smell the grass."

"What do you do in the north?" I asked.

"I used to teach at a school there," he said. "Now I only visit my sister. She is older than I am, and she \
does not like to be alone." He took an apple out of his pocket and cut it in two with a knife. "Would you \
like half of it?"

We ate the apple, and the sun rose over the fields."""
_QUEUE = '''"""A queue of jobs, of which the most urgent one is done first."""

import heapq
import time
from dataclasses import dataclass, field


@dataclass(order=True)
class Job:
    priority: int
    name: str = field(compare=False)
    created: float = field(default_factory=time.time, compare=False)


class JobQueue:
    def __init__(self):
        self._jobs = []

    def __len__(self):
        return len(self._jobs)

    def add(self, name, priority=10):
        job = Job(priority, name)
        heapq.heappush(self._jobs, job)
        return job

    def next(self):
        if not self._jobs:
            raise IndexError("the queue is empty")
        return heapq.heappop(self._jobs)

    def names(self):
        return [job.name for job in sorted(self._jobs)]


def run_all(queue, functions):
    results = {}
    while len(queue) > 0:
        job = queue.next()
        function = functions.get(job.name)
        if function is None:
            print(f"no function for {job.name}")
            continue
        start = time.time()
        results[job.name] = function()
        print(f"{job.name} took {time.time() - start:.2f} seconds")
    return results
'''
_SEASONS = (
    "一年有四个季节：春天、夏天、秋天和冬天。春天天气变暖，树木长出新的叶子，花也开了。农民在春天播种，希望秋天有好的收成。"
    "夏天是一年中最热的季节，白天很长，晚上很短。孩子们放暑假，常常去海边游泳，或者在树下吃西瓜。"
    "秋天天气变凉，叶子变黄，从树上落下来。这是收获的季节，人们收割水稻和玉米，也摘苹果和葡萄。"
    "冬天很冷，北方常常下雪，河面上结了冰。人们穿上厚厚的衣服，一家人坐在一起吃热的饭菜。春节是中国最重要的节日，一般在一月或者二月，那时候大家都回家过年。"
)
# In the order in which they are read: a model that is plainly worse need not read the later ones.
BUILT_IN: Mapping[str, Text] = {
    "story": Text(_STORY),
    "river": Text(_RIVER),
    "code": Text(_CODE),
    "chinese": Text(_CHINESE),
}
# Read, too, where something is likelier than what a config says, and not surely.
MORE: Mapping[str, Text] = {
    "bread": Text(_BREAD),
    "train": Text(_TRAIN),
    "queue": Text(_QUEUE),
    "seasons": Text(_SEASONS),
}
# Read where a model knows none of those above, and is surer of them than it is right: it may be at home elsewhere.
FURTHER: Mapping[str, Text] = {
    "german": Text(_GERMAN),
    "french": Text(_FRENCH),
    "spanish": Text(_SPANISH),
    "russian": Text(_RUSSIAN),
    "japanese": Text(_JAPANESE),
    "korean": Text(_KOREAN),
    "arabic": Text(_ARABIC),
}
# Questions that any chat model answers, and whole answers.
TALKS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many days are in a week?", "There are seven days in a week."),
    ("What is 2 + 2?", "2 + 2 = 4."),
    ("中国的首都是哪里？", "中国的首都是北京。"),
)
