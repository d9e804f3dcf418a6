"""Ray in one process: calls are done in turn when they are waited for, workers die when they are told to."""

from __future__ import annotations

from types import SimpleNamespace


class Death(BaseException):
    """A worker's process ends here; raised in place of `os._exit`."""


class RayError(Exception):
    pass


class ActorDiedError(RayError):
    def __init__(self, text, actor_init_failed=False):
        super().__init__(text)
        self.actor_init_failed = actor_init_failed


class Actor:
    """Calls in their order; `most` at a time are in hand, as with Ray's max_concurrency."""

    def __init__(self, ray, kind, args):
        self.calls, self.dead, self.ray = [], None, ray
        self.worker, self.steps = None, 0
        self.make = lambda: kind(*args)
        ray.actors.append(self)

    def __getattr__(self, method):
        return SimpleNamespace(remote=lambda *args: self._call(method, args))

    def _call(self, method, args):
        call = SimpleNamespace(actor=self, method=method, args=args, value=None, over=False)
        self.calls.append(call)
        return Ref(call)

    def step(self, call):
        self.steps += 1
        try:
            if self.worker is None:
                self.worker = self.make()
            call.value = getattr(self.worker, call.method)(*call.args)
            call.over = True
        except Death as death:
            self.dead = ActorDiedError(f"The actor died.\n{death}")
        except Exception as error:
            self.dead = ActorDiedError(f"creation task\n{error!r}", actor_init_failed=True)


class Ref:
    def __init__(self, call):
        self.call = call


class FakeRay:
    """What the driver uses of the module `ray`.

    Args:
        nodes: what each machine has.
        lose: numbers of calls of `do` whose answer is lost: the work is done, then the worker dies.
    """

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, nodes=({"CPU": 8.0, "memory": 1e11},), lose=()):
        self._nodes, self.lose, self.actors, self.did, self.most = nodes, set(lose), [], 0, 0

    def nodes(self):
        return [{"Resources": dict(node), "Alive": True} for node in self._nodes]

    def put(self, value):
        return value

    def remote(self, kind):
        def options(**given):
            self.options = given
            return SimpleNamespace(remote=lambda *args: Actor(self, kind, args))

        return SimpleNamespace(options=options)

    def wait(self, refs, num_returns, timeout):
        assert refs, "the driver waits for nothing"
        for actor in self.actors:
            in_hand = [r for r in refs if r.call.actor is actor and not r.call.over]
            self.most = max(self.most, len(in_hand))
        # turn about, the youngest worker first, so that answers come in another order than the questions
        for ref in sorted(refs, key=lambda r: (r.call.actor.steps, -self.actors.index(r.call.actor))):
            call = ref.call
            if not call.over and call.actor.dead is None:
                call.actor.step(call)
                if call.method == "do":
                    self.did += 1
                    if self.did in self.lose:
                        call.over, call.actor.dead = False, ActorDiedError("the machine is gone")
            return [ref], []
        raise AssertionError

    def get(self, ref, timeout=None):
        if ref.call.over:
            return ref.call.value
        raise ref.call.actor.dead

    def kill(self, actor):
        actor.dead = actor.dead or ActorDiedError("killed")
