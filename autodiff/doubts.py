"""Doubts: which products with an error signal are computed as ordinary ones, and how a nan among them is noticed.

An error signal of exactly 0 passes nothing on: the product with it, `chain`, is 0 even where the other factor is
infinite. An ordinary product is faster, and differs only there, by a nan. Such hopeful products are checked afterwards,
all at once: either no result is nan, or, where those are many, all factors are finite. Else all is computed again.
"""

import math
from collections.abc import Container, Iterable
from typing import Any

from autodiff import primitives as p
from autodiff.terms import FLAGS, Block, Term

__all__: list[str] = []

STICKY = frozenset({p.add, p.sub, p.mul, p.neg, p.chain})  # a nan among the arguments is one in the result
SPREADING = STICKY - {p.chain} | {p.square}  # and what is not finite stays so


def hopeful_products(blocks: Iterable[Block], needed: Container[Term], unused: Iterable[Term] = ()) -> set[Term]:
    """Find the products with an error signal that may be computed as ordinary ones.

    A nan there is no harm if it is sure to be seen in a result.
    """
    hidden = set(unused)  # a nan in these might reach no result
    found = set()
    for block in reversed(list(blocks)):
        hidden.update(x for x in (block.question.operands if block.question else ()) if isinstance(x, Term))
        for term in reversed(block.terms):
            if term in needed:
                if term in hidden or term.primitive not in STICKY:
                    hidden.update(x for x in term.args if isinstance(x, Term))
                if term.primitive is p.chain and term not in hidden:
                    found.add(term)
    return found


def tainted_by(products: set[Term], blocks: Iterable[Block]) -> set[Term]:
    """Find all that a nan in one of these products may reach."""
    tainted = set(products)
    for block in blocks:
        tainted.update(t for t in block.terms if any(x in tainted for x in t.args if isinstance(x, Term)))
    return tainted


def factors(product: Term) -> list[Term]:
    """List what must be finite for a product to be none of 0 and infinity.

    With a flag as a factor the product may be the root of a branch, else it is as finite as the other factor: it stands
    for both. So it does for a factor that is infinite always.
    """
    found = [x for x in product.args if isinstance(x, Term)]
    is_finite = all(isinstance(x, Term) or math.isfinite(x) for x in product.args)
    return found if is_finite and not any(x.primitive in FLAGS for x in found) else [product]


def doubled(root: Block, blocks: Iterable[Block], needed: Container[Term], tainted: set[Term]) -> dict[Term, Term]:
    """Find products c * (2 * z) that are (2 * c) * z to the bit if 2 * z is finite, as it is if the square of z is.

    Give for each the square: a value that is computed wherever the product is.
    """
    found = {}
    at_root: dict[Any, Term] = {}
    for block in blocks:
        squares = at_root if block is root else dict(at_root)
        for term in block.terms:
            if term.primitive is p.mul and term in needed:
                x, y = term.args
                if x is y and not term.deriving and term not in tainted:
                    squares[x] = term
                elif type(x) is float and abs(x) < 1.0 and y.primitive is p.mul and y.uses == 1 and y.args[0] == 2.0:
                    square = squares.get(y.args[1])
                    if square is not None:
                        found[term] = square
    return found


def proofs(
    root: Block, needed: Container[Term], reasons: dict[Term, list[Term]], tainted: set[Term], limit: int
) -> dict[Block, list[Term]]:
    """Find, for the end of each way, terms that are all finite only if all on it is that has to be; at most `limit`.

    `reasons` says of terms what has to be finite. Where a branch leaves out a product, it is 0, and so is what was
    computed for it alone. Therefore only values that have nothing to do with the products answer for others.
    """
    found = {}
    answering: dict[Term, Term] = {}
    blocks: list[tuple[Block, dict[Term, None]]] = [(root, {})]
    for block, before in blocks:
        terms = [t for t in block.terms if t in needed]
        values = [t for t in terms if not t.deriving and t not in tainted]
        _find_answering(values, (block, None) if block is root else (block,), answering)
        proof = before | dict.fromkeys(answering.get(x, x) for t in terms for x in reasons.get(t, ()))
        if len(proof) <= limit:
            if block.outputs is not None:
                found[block] = list(proof)
            blocks += [(way, proof) for way in block.ways.values()]
    return found


def _find_answering(values: list[Term], places: Container[Block | None], answering: dict[Term, Term]) -> None:
    """Find for each value in these places another that is finite only if this one is."""
    for value in reversed(values):
        last = answering.setdefault(value, value)
        for x in value.args if value.primitive in SPREADING else ():
            if isinstance(x, Term) and x.block in places:
                answering.setdefault(x, last)
