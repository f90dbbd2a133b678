"""Branching around error signals that are exactly 0.

Behind a dead ReLU or a satisfied hinge, every product with the error signal is 0, and need not be computed. Such a
product, `chain(signal, flag)` with a flag that is 0.0 or 1.0, is the root of a region: what is 0 when the flag is, and
what is only needed for that, is printed inside `if flag:`. A sum that a region adds to keeps its value outside.
"""

from autodiff import primitives as p
from autodiff.terms import FLAGS, Term

__all__: list[str] = []

SMALLEST = 2  # operations that make a branch worth its test
DEEPEST = 20  # branches inside one another: Python reads no more than 100 levels of indentation


class Regions:
    """Where the operations of one block belong: home(term) is the root of the innermost region, or None."""

    def __init__(self, terms: list[Term], hopeful: set[Term], sinks: dict[Term, str]) -> None:
        self.terms = terms
        self._sinks = sinks
        self._users: dict[Term, list[Term]] = {}
        self._find(set())
        candidates = {t for t in terms if t in hopeful and self._flag_of(t) is not None}
        if not candidates:
            return
        for term in terms:
            for x in term.args:
                if isinstance(x, Term):
                    self._users.setdefault(x, []).append(term)
        # What is used by more than the terms of this block: by the result, a question, a later block.
        self.outputs = {t for t in terms if t.uses > len(self._users.get(t, ())) + (t in sinks)}
        self._find(candidates)
        sizes = dict.fromkeys(candidates, 0)
        for term in terms:
            for root in self.path(self._home.get(term)):
                sizes[root] += 1
        if any(size < SMALLEST for size in sizes.values()):
            self._find({root for root, size in sizes.items() if size >= SMALLEST})

    @staticmethod
    def _flag_of(term: Term) -> Term | None:
        for x in term.args:
            if isinstance(x, Term) and x.primitive in FLAGS:
                return x
        return None

    def _find(self, roots: set[Term]) -> None:
        self._roots = set(roots)  # without those that turn out to be too deep inside others
        self._flags = {self.flag(root) for root in roots}
        self._zero: dict[Term, Term | None] = {}  # the region outside of which a term is 0
        self._home: dict[Term, Term | None] = {}  # the region in which a term is computed
        self._totals: dict[Term, Term] = {}  # sum -> the running total that it is added to
        self._starts: dict[Term, Term] = {}  # sum -> the first term of its running total
        self._sunk: set[Term] = set()
        self._members: dict[Term, list[Term]] = {}
        if not roots:  # nothing to branch around
            return
        for term in self.terms:
            self._place(term)
        for term in reversed(self.terms):
            self._sink(term)
        self._members = {root: [] for root in self._roots}
        for term in self.terms:
            for root in self.path(self._home[term]):
                self._members[root].append(term)

    def _place(self, term: Term) -> None:
        if term in self._roots:
            signal = self.signal(term)
            home = self._zero.get(signal) if isinstance(signal, Term) else None
            if len(self.path(home)) < DEEPEST:
                self._zero[term], self._home[term] = term, home
                return
            self._roots.remove(term)  # computed as the product that it is
        zeros = [self._zero.get(x) if isinstance(x, Term) else None for x in term.args]
        home = zero = None
        if term.primitive is p.chain or (term.primitive is p.mul and any(type(x) is float for x in term.args)):
            home = zero = max(zeros, key=lambda region: len(self.path(region)))
        elif term.primitive is p.neg or (term.primitive is p.add and type(term.args[1]) is float and not term.args[1]):
            home = zero = zeros[0]
        elif term.primitive in (p.add, p.sub) and any(zeros):
            home = zero = self._common(zeros[0], zeros[1])
            total = term.args[0]
            if (
                zeros[1] is not None
                and home is not zeros[1]
                and isinstance(total, Term)
                and total.uses == 1
                and total in self._home
                and total not in self._roots
                and total.deriving
            ):
                self._totals[term] = total
                self._starts[term] = self._starts.get(total, total)
                home = zeros[1]
        self._zero[term], self._home[term] = zero, home

    def _sink(self, term: Term) -> None:
        """Move what is needed inside one region only into it."""
        if not term.deriving or term in self._totals or term in self.outputs or term in self._roots:
            return
        users = self._users.get(term, [])
        if not users or len(users) != term.uses or any(self._totals.get(user) is term for user in users):
            return
        homes = [self._at(user) for user in users]
        common = homes[0]
        for home in homes[1:]:
            common = self._common(common, home)
        home = self._home[term]
        if home is not common and home in [None, *self.path(common)] and term not in self._flags:
            self._home[term] = common
            self._sunk.add(term)

    def order(self) -> list[Term]:
        """List the terms in the order in which to compute them: what was moved into a region comes with it."""
        if not self._roots:
            return self.terms
        order: list[Term] = []
        placed: set[Term] = set()
        for term in self.terms:
            if term not in self._sunk:
                stack = [term]
                while stack:
                    wanted = [x for x in stack[-1].args if isinstance(x, Term) and x in self._sunk and x not in placed]
                    if wanted:
                        stack.append(wanted[0])
                    else:
                        placed.add(stack[-1])
                        order.append(stack.pop())
        return [term for term in order if not self._is_flag_only(term)]

    def _is_flag_only(self, term: Term) -> bool:
        users = self._users.get(term, [])
        if term.primitive not in FLAGS or len(users) != term.uses:
            return False
        return all(user in self._roots and self.flag(user) is term and self.signal(user) is not term for user in users)

    def _common(self, one: Term | None, other: Term | None) -> Term | None:
        """Find the innermost region that contains both."""
        both = [a for a, b in zip(self.path(one), self.path(other), strict=False) if a is b]
        return both[-1] if both else None

    def path(self, region: Term | None) -> list[Term]:
        """List the regions from the outermost to this one."""
        path: list[Term] = []
        while region is not None:
            path.append(region)
            region = self._home[region]
        return path[::-1]

    def is_root(self, term: Term) -> bool:
        """Say whether a term is the root of a region: inside, it is the error signal itself."""
        return term in self._roots

    def flag(self, root: Term) -> Term:
        """Give the flag of a region."""
        flag = self._flag_of(root)
        assert flag is not None
        return flag

    def signal(self, root: Term) -> "Term | float":
        """Give the error signal that the flag of a region lets through."""
        flag = self.flag(root)
        signal: Term | float = root.args[1] if root.args[0] is flag else root.args[0]
        return signal

    def home(self, term: Term) -> Term | None:
        """Give the innermost region that a term is computed in."""
        return self._home.get(term)

    def zero_outside(self, term: Term) -> Term | None:
        """Give the innermost region outside of which a term is 0."""
        return self._zero.get(term)

    def running_total(self, term: Term) -> Term | None:
        """Give the term that this sum adds to in place, if it does."""
        return self._totals.get(term)

    def may_move(self, term: Term, user: Term | None, may_raise: bool) -> bool:
        """Say whether a term may be computed where its user is; what may raise, as f does, must be in any case."""
        if not self._roots:
            return True
        if user is None:
            return self.home(term) is None
        if may_raise and self._at(user) is not None:
            return False
        if user in self._roots and user.uses > 1 and not self.used_outside(user):
            return False  # inside its region, the root is another name for the signal; used outside, it has its own
        if self._totals.get(user) is term:
            return False  # it needs a name to be added to
        return self.home(term) is None or self.home(term) in self.path(self._at(user))

    def used_outside(self, root: Term) -> bool:
        """Say whether the root of a region is used outside of it too."""
        users = self._users.get(root, [])
        return root in self.outputs or any(root not in self.path(self._at(user)) for user in users)

    def outside_uses(self, root: Term) -> int:
        """Count the uses of the root of a region that are not inside it."""
        return root.uses - sum([root in self.path(self._at(user)) for user in self._users.get(root, [])])

    def _at(self, user: Term) -> Term | None:
        return user if user in self._roots else self.home(user)

    def left_undefined(self, root: Term) -> list[Term]:
        """List the terms of a region that are used outside of it: there they are 0."""
        found = {root: None} if self.used_outside(root) else {}
        for term in self._members[root]:
            users = self._users.get(term, [])
            is_added_later = term in self._totals and term in self._sinks  # to its accumulator, after all branches
            is_used = term in self.outputs or any(root not in self.path(self._at(user)) for user in users)
            if is_used or is_added_later:
                start = self._starts.get(term, term)  # a running total that started outside keeps what it was
                if root in self.path(self._home[start]):
                    found[start] = None
        return list(found)
