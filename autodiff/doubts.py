"""Doubts: which products with an error signal are computed as ordinary ones, and how a nan among them is noticed.

An error signal of exactly 0 passes nothing on: the product with it, `chain`, is 0 even where the other factor is
infinite. An ordinary product is faster, and differs only there, by a nan. Such hopeful products are checked afterwards,
all at once: either no result is nan, or, where those are many, all factors are finite. Else all is computed again.
"""

from collections.abc import Container, Iterable

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


def proofs(
    root: Block, needed: Container[Term], hopeful: set[Term], tainted: set[Term], limit: int
) -> dict[Block, list[Term]]:
    """Find, for the end of each way, terms that are all finite only if no product on it is nan; at most `limit`.

    A product is none if its factors are finite. Where a branch leaves it out, it is 0, and so is what was computed for
    it alone. Therefore only values that have nothing to do with the products answer for others.
    """
    found = {}
    answering: dict[Term, Term] = {}
    blocks: list[tuple[Block, dict[Term, None]]] = [(root, {})]
    for block, before in blocks:
        terms = [t for t in block.terms if t in needed]
        values = [t for t in terms if not t.deriving and t not in tainted]
        _find_answering(values, (block, None) if block is root else (block,), answering)
        proof = before | dict.fromkeys(answering.get(x, x) for t in terms if t in hopeful for x in _to_prove(t))
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


def _to_prove(product: Term) -> list[Term]:
    """List what must be finite: the factors; or, if one is a flag, the product, which may be the root of a branch."""
    factors = [x for x in product.args if isinstance(x, Term)]
    return [product] if any(x.primitive in FLAGS for x in factors) else factors
