"""Settings of recommendations: users, items, rules and reranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autorec_cli.config import require_choice, require_count
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.errors import UsageError
from autorec_cli.inference.ranking.reranking import check_strength, parse_rerank
from autorec_cli.inference.users.target_users import Shard

ON_UNKNOWN = ("error", "skip", "popular")


@dataclass(frozen=True)
class RecommendSettings:
    """Users to recommend to, and items that may be recommended.

    Attributes:
        k: Number of recommendations per user.
        user_ids: In the order wanted, numbers as they are printed; None is every user of the model.
        history: Ratings of users to fold in: a file or a polars or pandas frame. They are added to what the model knows
            of its own users.
        history_options: Format of a history file; None detects everything.
        dataset: The model's dataset or its directory, with the ratings of users that the model knows, for `history` and
            `explain`; None looks where it was at training time.
        include_seen: Recommend rated items too.
        candidates: Recommend only these items, by id; None is all.
        exclude: Never recommend these items.
        exclude_pairs: Never recommend these items to these users: a file, or a polars or pandas frame, with columns
            user_id and item_id.
        where: Recommend only items for which this SQL condition over the columns of the items is true, such as "genre
            LIKE '%Comedy%' AND year >= 1990"; the id is `item_id`.
        max_per: Largest number of items with the same value of a column in a user's recommendations, by column.
        min_item_ratings: Recommend only items with at least this many training ratings.
        on_unknown: Unknown users: "error", "skip", or "popular" (the popularity baseline).
        shard: Only one of several equal shards of the users; None is all of them.
        explain: Largest number of reasons for each recommended item: ratings of the user that raised its score most.
        rerank: "mmr:0.3" trades relevance for diversity, here with a weight of 0.3; see `reranking.more_diverse`.
        popularity_correction: Strength of `reranking.PopularityCorrection`, from 0; 0.1 is mild.

    Raises:
        UsageError: a value is out of range, or two contradict each other.
    """

    k: int = 10
    user_ids: Sequence[str | int] | None = None
    history: Any = None
    history_options: ReadOptions | None = None
    dataset: Any = None
    include_seen: bool = False
    candidates: Sequence[str | int] | None = None
    exclude: Sequence[str | int] = ()
    exclude_pairs: Any = None
    where: str | None = None
    max_per: Mapping[str, int] = field(default_factory=dict)
    min_item_ratings: int = 1
    on_unknown: str = "error"
    shard: Shard | None = None
    explain: int = 0
    rerank: str | None = None
    popularity_correction: float = 0.0

    def __post_init__(self) -> None:
        require_count("--top-k", self.k, minimum=1)
        require_count("--min-item-ratings", self.min_item_ratings, minimum=0)
        require_count("--explain", self.explain, minimum=0)
        check_strength(self.popularity_correction)
        if self.rerank is not None:
            parse_rerank(self.rerank)
        for n in self.max_per.values():
            require_count("--max-per", n, minimum=1)
        require_choice("--on-unknown", self.on_unknown, ON_UNKNOWN)
        if self.history is not None and self.user_ids is not None:
            raise UsageError("--history recommends to the users of its file; leave out --user and --users")
        if self.dataset is not None and self.history is None and not self.explain:
            raise UsageError("--data belongs to --history and --explain; leave it out")

    @property
    def is_first_shard(self) -> bool:
        """True without shards too."""
        return self.shard is None or self.shard.number == 1
