"""Known column names of public data sets and tools, by role.

Names are compared in lower case, letters and digits only, without the type or table that tools add to them:
`user_id:token` (RecBole), `ratings.user_id` (Hive), `review/userId` (SNAP), `rating (double)`, `user_id_x` (pandas).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from autorec_cli.data.readers.options import ROLES


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Names of one line are equally good: if a header has two of them, the choice is refused. A name wins over those of
# later lines, because there both mean the same (`user_id` and `username`), or the set's authors say so.
TIERS: Mapping[str, Sequence[str]] = {
    "user": (
        # MovieLens, Amazon, Online Retail, H&M, Ciao, EachMovie, Retailrocket, dunnhumby, KKBox, Steam, Netflix on
        # Kaggle, Google Local; "useri" is a misprint in Personality 2018
        """
        userid uid userno usernumber useridx userindex userhash useri reviewerid customerid customerno custid memberid
        accountid raterid readerid personid viewerid listenerid visitorid consumerid clientid buyerid shopperid
        householdid householdkey subscriberid studentid learnerid gplususerid steamid msno
        """,
        # Coursera on Kaggle: reviewers
        "user users reviewer reviewers customer member account rater reader person viewer listener visitor consumer",
        # BeerAdvocate, Fine Foods, MyAnimeList: names of people, used where they have no ids
        "username profilename reviewername customername membername nickname screenname useremail email",
        # Diginetica, OTTO, Food.com
        "sessionid session u",
    ),
    "item": (
        # Amazon 2023: its authors tell to use the parent, under which the variants of a product are listed
        "parentasin",
        # MovieLens, Amazon, Goodreads, Yelp, Last.fm, Million Song, MyAnimeList, Jester, Food.com, Steam, BeerAdvocate,
        # X-Wines, Foursquare, Airbnb, Online Retail, Google Local, Delicious, KuaiRec, Coursera
        """
        itemid iid itemno itemidx itemindex movieid productid asin bookid businessid trackid songid artistid albumid
        animeid mangaid jokeid recipeid gameid appid filmid showid articleid beerid wineid videoid venueid placeid poiid
        locationid listingid hotelid restaurantid courseid newsid storyid bookmarkid contentid mediaid podcastid
        episodeid jobid goodsid stockcode sku skuid gmapid gplusplaceid
        """,
        # Book-Crossing, MovieLens links: codes beside the set's own ids
        "isbn isbn10 isbn13 imdbid tmdbid",
        """
        item items movie product book business track song artist album anime manga joke recipe game app film show
        article beer wine video venue place hotel restaurant course
        """,
        # titles, used where there are no ids
        """
        itemname itemtitle movietitle moviename producttitle productname booktitle bookname trackname songname
        gametitle gamename filmname filmtitle artistname beername recipename animename
        """,
        "i",
    ),
    "rating": (
        # MovieLens, Amazon, Yelp, Book-Crossing, AWS reviews, BeerAdvocate, MyAnimeList, Letterboxd
        """
        rating ratings score scores stars star overall bookrating userrating movierating overallrating starrating
        ratingvalue ratingval ratingscore reviewscore reviewrating reviewoverall reviewstars userscore myrating myscore
        """,
        "value preference grade",
        # Last.fm, Million Song, Online Retail: counts and other signs of interest
        """
        plays playcount playscount listencount listens count counts weight quantity qty frequency freq bought purchased
        purchase clicked click watched viewed liked interaction interactions
        """,
    ),
    # A timestamp only orders ratings: the first of these that can be read is taken.
    "timestamp": _words(
        """
        timestamp ts tstamp unixreviewtime unixtime unixtimestamp ratingtimestamp reviewtimestamp utctimestamp
        eventtimestamp clicktimestamp time ratingtime createdat datetime date ratedat ratingdate reviewdate
        reviewtime eventtime eventdate watchedat playedat createdon createtime creationtime createdtime datecreated
        dateadded invoicedate orderdate purchasedate transactiondate transactiondt tdat submitted submittedat
        modified dateupdated updatedat
        """
    ),
}
COLUMN_NAMES: Mapping[str, Sequence[str]] = {role: " ".join(tiers).split() for role, tiers in TIERS.items()}
"""Known names by role, the better ones first."""

COUNTS = frozenset(_words("plays playcount playscount listencount listens count counts quantity qty frequency freq"))
"""Names of counts, which are no rating scale."""
PREFIXES = ("review", "reviews", "reviewer", "beer", "my", "click", "event")
"""Words before known names: `review_profilename`, `beer_beerid`."""
N_PREFIXED_TIERS = {"user": 3, "item": 3, "rating": 1, "timestamp": len(TIERS["timestamp"])}
"""Tiers of names that may follow a prefix; `review_count` is not a count of plays."""
TYPES = frozenset(
    _words(
        """
        string str text char varchar nvarchar token tokenseq int integer int8 int16 int32 int64 uint32 uint64 smallint
        tinyint bigint long short byte float float16 float32 float64 floatseq double real decimal numeric number bool
        boolean date datetime timestamp object category categorical uuid id
        """
    )
)
SQL_TYPES = TYPES - {"id", "number", "date", "datetime", "timestamp", "category", "object", "text", "short"}
"""Types that may follow after a blank; a "rating id" is not a rating."""

INDEX_NAMES = frozenset(
    _words(
        """
        index idx indexlevel0 rownames rowname rowid rownum rownumber row levelid unnamed unnamed0 unnamed01 id no nr sn
        serialno sno level0
        """
    )
)
"""Names of row numbers, and `id`, which may be that of the row."""
NOT_RATINGS = frozenset(
    _words(
        """
        id ids code key type kind category cat categories brand genre genres gender sex age zip zipcode postcode price
        cost revenue sales discount lat lon lng latitude longitude altitude distance timezone offset time date day month
        year hour minute second week weekday timeframe dt session page abv verified vine
        """
    )
)
"""Words in names of numbers that are not ratings."""
DOUBTFUL = frozenset(
    _words(
        """
        rank position order step size length volume duration fold split set label target test train flag status group
        cluster class level helpful helpfulness useful funny cool vote votes likes dislikes is has n num number sum
        total avg average mean std predicted
        """
    )
)
"""Words in names of numbers that hardly are ratings."""
SUMS = frozenset(_words("amount basket budget charge expense fee income order payment spend spent"))
"""Words in names of sums of money."""
NOT_IDS = frozenset(
    _words(
        """
        name title url link text comment comments description summary image images country city state location
        review reviews rating ratings transaction invoice record log
        """
    )
)
"""Words in names of facts that describe users, items or reviews; whose name `name` is nobody can tell."""
NOT_TIMES = frozenset(
    _words(
        """
        birth birthday birthdate dob release released publish published publication join joined
        """
    )
)
OUTPUTS = ({"user_id", "item_id", "rank", "score"}, {"user_id", "item_id", "predicted_rating"})
"""Columns of what `recommend` and `predict` write; LensKit's recommendations have the first four, too."""
NAMELESS = re.compile(r"(?:(?:column|col|field|var|f|v|x|c|_c)[ _]?)?\d+|unnamed: ?\d+|", re.IGNORECASE)


def role_of(name: str) -> str | None:
    """Role of a column called `name`, if known."""
    found = role_and_tier(name)
    return found[0] if found else None


def role_and_tier(name: str) -> tuple[str, int] | None:
    """Role of `name`, and its tier from 0, the best."""
    for spelling, n_tiers in _spellings(name):
        for role in ROLES:
            for tier, names in enumerate(TIERS[role][: n_tiers[role]]):
                if spelling in names.split():
                    return role, tier
    return None


def _spellings(name: str) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Plain spellings of `name`, the whole one first.

    Each comes with the number of tiers to search.
    """
    every = {role: len(tiers) for role, tiers in TIERS.items()}
    yield plain(name), every
    bare = without_type(name)
    yield plain(bare), every
    bare = re.split(r"[./]", bare)[-1]  # ratings.user_id, review/userId
    yield plain(bare), every
    bare = re.sub(r"_[xy]$", "", bare.strip())  # user_id_x, of a merge by pandas
    yield plain(bare), every
    prefix, _, rest = bare.strip(" \t`\"'[]").partition("_")
    if prefix.lower() in PREFIXES and rest:
        yield plain(rest), N_PREFIXED_TIERS


def without_type(name: str) -> str:
    """Strip a type from `name`: `rating:float`, `rating (1-5)`, `rating FLOAT`."""
    match = re.fullmatch(r"(.*?)\s*(?::+\s*([\w ]+)|\(([^()]*)\)|\[([^\[\]]*)\]|<([^<>]*)>)\s*", name)
    if match and match[1]:
        kind = next(group for group in match.groups()[1:] if group is not None)
        if plain(kind) in TYPES or re.fullmatch(r"[\d\s.,/-]+|\d+ to \d+|stars", kind.strip()):
            return match[1]
    match = re.fullmatch(r"(.*\S)\s+(\w+)(?:\([\d, ]+\))?\s*", name)
    return match[1] if match and match[2].lower() in SQL_TYPES else name


def plain(name: str) -> str:
    """Letters and digits of `name`, in lower case."""
    return re.sub(r"[\W_]", "", name.lower())


def words(name: str) -> set[str]:
    """Words of `name`: `add_to_cart`, `venueCategoryId`."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", without_type(name))
    return {*re.findall(r"[a-z0-9]+", spaced.lower()), plain(without_type(name))}


def is_index_name(name: str) -> bool:
    """True for names of row numbers, or no name."""
    return not plain(name) or plain(name) in INDEX_NAMES or re.fullmatch(r"unnamed: ?\d+", name.lower()) is not None


def is_nameless(names: Sequence[str]) -> bool:
    """True if `names` only count columns, as `0`, `V1`, `_c2`."""
    return all(NAMELESS.fullmatch(name.strip()) for name in names)


def holds_predictions(names: Sequence[str]) -> bool:
    """True for the columns of recommendations, or of predictions without ratings."""
    return "rating" not in names and any(output.issubset(names) for output in OUTPUTS)


def is_count(name: str) -> bool:
    """True for names of counts, such as plays."""
    return any(spelling in COUNTS for spelling, _ in _spellings(name))


def cannot_be_rating(name: str) -> bool:
    """True for names of numbers of another kind."""
    return is_index_name(name) or plain(name).endswith("id") or bool(words(name) & NOT_RATINGS)


def names_other_fact(name: str) -> bool:
    """True for names of other facts, such as price or genre."""
    known = (NOT_RATINGS | DOUBTFUL | NOT_IDS) - {"id", "ids", "code", "key", "n", "num", "number"}
    return bool(words(name) & known)


def names_money(name: str) -> bool:
    """True for names of prices and sums."""
    return names_other_fact(name) or bool(words(name) & SUMS)


def is_grade_name(name: str) -> bool:
    """True for names of ratings, such as final grade."""
    return bool(words(name) & {"grade", "grades", "score", "rating", "stars"})


def is_doubtful_rating(name: str) -> bool:
    """True for names that are hardly those of ratings."""
    return bool(words(name) & DOUBTFUL)


def cannot_be_time(name: str) -> bool:
    """True for names of dates that are not the rating's."""
    return bool(words(name) & NOT_TIMES)
