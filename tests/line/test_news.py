"""News from threads to listeners."""

import asyncio
import threading

import pytest

from defectseg.line import news as news_module
from defectseg.line.news import Item, News, TooManyListenersError


def test_all_who_listen_are_told_until_the_end() -> None:
    async def listen() -> list[Item | None]:
        news = News()
        first, second = news.listen(), news.listen()
        thread = threading.Thread(target=lambda: (news.tell("inspection", 7), news.close()))
        thread.start()
        heard = [await asyncio.wait_for(own.get(), 5) for own in (first, second, first)]
        thread.join()
        news.leave(first)
        return heard

    item = Item("inspection", 7)
    assert asyncio.run(listen()) == [item, item, None]


def test_who_comes_after_the_end_hears_it_at_once() -> None:
    async def listen() -> Item | None:
        news = News()
        news.close()
        return await asyncio.wait_for(news.listen().get(), 5)

    assert asyncio.run(listen()) is None


def test_who_does_not_keep_up_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_module, "_MOST_WAITING", 3)

    async def listen() -> list[Item | None]:
        news = News()
        own = news.listen()
        for number in range(10):
            news.tell("inspection", number)
        await asyncio.sleep(0)
        return [own.get_nowait() for _ in range(own.qsize())]

    heard = asyncio.run(listen())
    assert [item and item.about for item in heard] == [0, 1, 2, None]


def test_listeners_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_module, "_MOST_LISTENERS", 2)

    async def listen() -> None:
        news = News()
        first = news.listen()
        news.listen()
        with pytest.raises(TooManyListenersError):
            news.listen()
        news.leave(first)
        news.listen()

    asyncio.run(listen())
