"""OmegaPRM in plain Python, as one would write it from the paper (arXiv 2406.06592, with MM-PRM's prompts and priorities).

    python benches/peers/omega.py replay TRACES.jsonl TREES    searches again from recorded rollouts, and compares the trees
    python benches/peers/omega.py labels TREES...              counts the Monte Carlo values in folders of trees

`search_server.py` runs it against a server. Only the standard library.
"""

import heapq
import json
import math
import pathlib
import re
import sys

TASK = (
    " Your task is to answer the question below. Give complete reasoning steps before you answer, and when you are ready to "
    "answer, use Answer: The final answer is .."
)


class State:
    """A solution up to some step."""

    def __init__(self, parent, steps):
        self.parent, self.steps = parent, steps
        self.value, self.visits = 0.0, 0
        self.right, self.wrong, self.children = [], [], []
        self.waiting = []
        if parent:
            parent.children.append(self)

    def __lt__(self, other):
        return self.visits < other.visits

    def prefix(self):
        return (self.parent.prefix() if self.parent else []) + self.steps

    def below(self):
        yield self
        for child in self.children:
            yield from child.below()

    def form(self):
        return {
            "mc_value": self.value,
            "visit_count": self.visits,
            "correct_rollouts": self.right,
            "incorrect_rollouts": self.wrong,
            "children": [{"partial_solution": child.steps, **child.form()} for child in self.children],
        }


class Search:
    """One problem. `draw(prefix, count, node)` gives rollouts (lists of steps), `check(rollout)` whether one is right."""

    def __init__(self, draw, check, rollouts=16, budget=1000, searches=200, c_puct=0.125, alpha=0.5, beta=0.9, scale=2000):
        self.draw, self.check = draw, check
        self.each, self.budget, self.most = rollouts, budget, searches
        self.c_puct, self.alpha, self.beta, self.scale = c_puct, alpha, beta, scale
        self.root = State(None, [])
        self.heap, self.present = [], {}
        self.drawn = self.estimates = self.searches = self.visits = 0

    def run(self):
        self.estimate(self.root)
        while self.searches < self.most and self.drawn < self.budget and (found := self.pop()):
            state, rollout = found
            self.bisect(state, rollout)
            state.visits += 1
            self.visits += 1
            for other in self.root.below():
                for waiting in other.waiting:
                    self.push(other, waiting)
            self.searches += 1
        return self.root

    def estimate(self, state):
        rollouts = self.draw(state.prefix(), self.each, self.estimates)
        self.drawn += len(rollouts)
        right = 0
        for rollout in rollouts:
            if self.check(rollout):
                right += 1
                if rollout not in state.right:
                    state.right.append(rollout)
                    State(state, rollout).value = 1.0
            elif rollout not in state.wrong:
                state.wrong.append(rollout)
        state.value = right / len(rollouts)
        self.estimates += 1
        if right:
            state.waiting = list(state.wrong)
            for rollout in state.wrong:
                self.push(state, rollout)

    def push(self, state, rollout):
        words = sum(len(step.split()) for step in rollout)
        quality = self.alpha ** (1 - state.value) * self.beta ** (words / self.scale)
        priority = quality + self.c_puct * math.sqrt(self.visits) / (1 + state.visits)
        self.present[id(state), tuple(rollout)] = priority
        heapq.heappush(self.heap, (-priority, state, rollout))

    def pop(self):
        while self.heap:
            priority, state, rollout = heapq.heappop(self.heap)
            # Skips entries that were pushed again since or already taken.
            if self.present.get((id(state), tuple(rollout))) == -priority:
                del self.present[id(state), tuple(rollout)]
                state.waiting.remove(rollout)
                return state, rollout
        return None

    def bisect(self, state, rollout):
        left, end = 0, len(rollout)
        while left < end:
            middle = (left + end - 1) // 2
            child = State(state, rollout[left : middle + 1])
            if left + 1 == end == len(rollout):
                child.value = float(self.check(rollout))
                break
            self.estimate(child)
            if child.value == 0:
                end = middle
            else:
                state, left = child, middle + 1


def user_message(question, prefix):
    text = f"{TASK}\n\nQuestion: {question}"
    if prefix:
        text += "\nPrevious Steps:" + "".join(f"<step>{step.strip()}</step>" for step in prefix)
    return text


def steps_of(text):
    return [found[2].strip() for found in re.finditer(r"<(step|answer)>(.*?)</\1>", text, re.DOTALL)]


def is_right(problem, rollout):
    return bool(rollout) and rollout[-1].strip().endswith("The final answer is " + problem["correct_answer"])


def tree(problem, root):
    return {
        "question": problem["question"],
        "answer": problem["correct_answer"],
        "image_path": problem.get("image_path"),
        **root.form(),
        "id": problem.get("id"),
    }


def replay(traces, trees):
    """Whether recorded rollouts give the recorded trees."""
    same = different = 0
    for line in pathlib.Path(traces).read_text(encoding="utf-8").splitlines():
        trace = json.loads(line)
        golden = list(pathlib.Path(trees).glob(f"*_{trace['name']}.json"))
        if trace["error"] or not golden:
            continue
        calls = iter(trace["calls"])

        def draw(prefix, count, _node, trace=trace, calls=calls):
            call = next(calls)
            assert call["prompt"] == "<image>\n" + user_message(trace["item"]["question"], prefix)
            assert call["num_copies"] == count
            return [[trace["steps"][index] for index in rollout] for rollout in call["rollouts"]]

        params = trace["params"]
        search = Search(
            draw, lambda rollout, item=trace["item"]: is_right(item, rollout), params["num_rollouts"],
            params["rollout_budget"], params["max_search_count"], params["c_puct"], params["alpha"], params["beta"],
            params["length_scale"],
        )
        found = json.dumps(tree(trace["item"], search.run()), indent=4, ensure_ascii=False)
        if found == golden[0].read_text(encoding="utf-8"):
            same += 1
        else:
            different += 1
            print(f"{trace['name']}: another tree", file=sys.stderr)
    print(json.dumps({"same": same, "different": different}))
    return different == 0 < same


def labels(folder):
    """Monte Carlo values in a folder of trees: one a state below the root."""

    def count(node):
        return sum(1 + count(child) for child in node["children"])

    return sum(count(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(pathlib.Path(folder).glob("*.json")))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["replay", traces, trees]:
            sys.exit(not replay(traces, trees))
        case ["labels", *folders] if folders:
            print(json.dumps({folder: labels(folder) for folder in folders}))
        case _:
            sys.exit(__doc__)
