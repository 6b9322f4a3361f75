"""The loop: stage I alone for a while, then joint updates by number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from genseg.batches.draw import Batches, Changes, joined, unlabelled_images
from genseg.compute.device import Machine
from genseg.compute.randomness import generator_for
from genseg.config import Plan
from genseg.drawing.pairs import Example
from genseg.errors import GeneratorError, SettingsError
from genseg.generators.copies import CopyTest, describe_images
from genseg.joint.generation import Generation, settings_of
from genseg.joint.hypergradient import Hypergradient, norm_of
from genseg.joint.patches import Patches, cut_around_object, surroundings_of
from genseg.joint.schedule import JUDGED, HeldOutSchedule, search_end, steered_updates
from genseg.joint.source import PairSource
from genseg.joint.stages import judge, take_styles, train_stage_one
from genseg.joint.synthesis import make_masks, synthesise
from genseg.joint.update import JointBatch, RealPairs, joint_update
from genseg.prepare.preprocess import Prepared
from genseg.segmenters.learner import Learner

EXAMPLES = 4
"""Cases that are drawn."""

Measured = dict[str, float]


class JointLoop:
    """Updates of generator and segmenter by number; the same number gives the same draws, whatever came before.

    training: cases that may train. groups: the patient of each; see `HeldOutSchedule`. further: cases with predicted
    masks: stage II is also made on them, and pairs are generated in their surroundings. Raises SettingsError where
    there are too few patients to hold any out, ValueError where the plan has no generation.
    """

    def __init__(
        self,
        training: Sequence[Prepared],
        groups: Sequence[str],
        plan: Plan,
        seed: int,
        machine: Machine,
        further: Sequence[Prepared] = (),
    ) -> None:
        self._cases = list(training)
        self._further = list(further)
        self._groups = list(groups)
        self._plan = plan
        self._settings = settings_of(plan)
        self._seed = seed
        self._machine = machine
        self.searched = search_end(plan)
        """The update that ends the search."""
        self.steered = steered_updates(plan)
        """The updates that end with stage III."""
        self.schedule = HeldOutSchedule(groups, self._settings.held_out, self.searched, seed)
        """Which cases train in an update, and which are held out."""
        if self.searched and not self.schedule.most:
            raise SettingsError(
                f"method: {self._settings.method} needs two or more patients to hold some out; found one, or "
                "nearly identical images only; use --method separate or strong-augmentation"
            )
        lending = surroundings_of(self._further)
        cut = [cut_around_object(case, plan, seed, number) for number, case in enumerate([*self._cases, *lending])]
        self._patches = Patches(cut, len(self._cases), plan, seed, machine)

    def pretrain(self, generation: Generation) -> Measured:
        """One update of stage I before the segmenter's first; after the last of them the generator is judged.

        Raises GeneratorError where it has diverged or collapsed, here and in `advance`.
        """
        size, everyone = self._plan.pretraining_size_at(generation.pretrained), self._patches.everyone
        pairs = self._to_generate(generation, everyone, "pretraining", size)
        measured, _ = train_stage_one(generation, *pairs, self._plan, self._seed, self._machine, is_recorded=False)
        generation.pretrained += 1
        if generation.pretrained == self._settings.pretraining:
            self._take_styles(generation, 0)
            judge(generation, self._patches_at(0), self._seed)
        return measured

    def advance(self, learner: Learner, generation: Generation) -> tuple[Measured, Measured]:
        """The next joint update; see `joint_update` for what it raises.

        Returns what was measured of stages II and I, and of stage III where there was one.
        """
        update = learner.update
        if self._settings.method == "joint" and update == self.searched:
            generation.decide()
        batch = self.batch(generation, update, is_steered=update in self.steered)
        outcome = joint_update(learner, generation, batch, self._plan, self._seed, self._machine)
        if outcome.held_out_loss is None or outcome.found is None:
            return outcome.measured, {}
        return outcome.measured, {"held_out_loss": outcome.held_out_loss, **_feedback(outcome.found, generation)}

    def batch(self, generation: Generation, update: int, *, is_steered: bool) -> JointBatch:
        """What an update of the segmenter is made on. is_steered: whether stage III follows.

        Raises GeneratorError where stage III has left pairs no share.
        """
        cases, size = self.schedule.training(update), self._plan.size_at(update)
        takes_styles, patches = self.takes_styles(update), self._patches_at(update)
        synthetic, draws = self._synthetic(generation), generator_for(self._seed, "synthetic pairs", update)
        with torch.set_grad_enabled(is_steered):
            new = make_masks(patches.pool(cases), generation.steered.ranges, synthetic, self._plan, draws)
        trains = self.trains_generator(update)
        return JointBatch(
            real=self._real(cases, update, self._plan.batch_size - synthetic),
            new_masks=new,
            draws=draws,
            to_generate=self._to_generate(generation, cases, f"of {len(cases)}", size) if trains else None,
            held_out=self.held_out(update) if is_steered else None,
            views=self._views(generation, new.cases, update) if takes_styles else (),
            judged_on=patches if takes_styles else None,
        )

    def trains_generator(self, update: int) -> bool:
        """Whether stage I is due in an update of the segmenter."""
        return self._settings.method != "separate" and update % self._settings.every == 0

    def takes_styles(self, update: int) -> bool:
        """Whether the styles of real images are taken anew in an update: every so often, and where images grow."""
        grows = self._plan.size_at(update) != self._plan.size_at(update - 1)
        return update > 0 and (grows or update % self._settings.refresh == 0)

    def held_out(self, update: int) -> RealPairs:
        """Images and masks of the cases held out in an update, changed at random as those of stage II are."""
        cases = self.schedule.held_out(update)
        return self._batches(cases, "held out", max(JUDGED, len(cases)), self._plan.size_at(update))[update]

    def examples(self, generation: Generation, update: int) -> list[Example]:
        """A few real cases and what the generator makes of them now; always the same draws.

        update: of the segmenter, the one that was made last; images have its size.
        """
        if generation.pretrained < self._settings.pretraining:
            self._take_styles(generation, update)
        patches = self._patches_at(update)
        cases = patches.everyone[:EXAMPLES]
        images, masks = patches.images(cases), patches.masks(cases)
        shown, pool = patches.shown(masks), patches.pool(cases)
        generator, draws = generation.translator.generator, generator_for(self._seed, "examples", 0)
        with torch.no_grad():
            rebuilt = generator(shown, generation.translator.encoder(self._machine.send(images), shown)[0])
            new = make_masks(pool, generation.steered.ranges, len(cases), self._plan, draws)
            pairs = synthesise(generator, generation.steered, new, self._plan, self._machine, draws)
        made = (rebuilt, pairs.plain, pairs.mask.argmax(1).byte())
        arrays = [images.numpy(), masks.numpy(), *(tensor.float().cpu().numpy() for tensor in made)]
        return [Example(*one) for one in zip(*arrays, strict=True)]

    def source(self, generation: Generation, held_out: Sequence[Prepared]) -> PairSource:
        """What pairs are made from once training is over; the styles of all cases are taken anew for it.

        held_out: cases that nothing was trained on; they tell how near to training images others come.
        """
        self._take_styles(generation, self._plan.updates)
        everyone, surroundings = self._patches.everyone, self._patches.surroundings
        images, pool = self._patches.images([*everyone, *surroundings]), self._patches.pool(everyone)
        others = [
            cut_around_object(case, self._plan, self._seed, len(images) + number)[0]
            for number, case in enumerate(held_out)
        ]
        patients = sorted(set(self._groups))
        groups = [patients.index(group) for group in self._groups]
        groups += range(len(patients), len(patients) + len(surroundings))
        unseen = describe_images(torch.stack(others) if others else images[:0])
        return PairSource(
            generation.translator.generator,
            generation.steered,
            [case.name for case in (*self._cases, *surroundings_of(self._further))],
            pool.masks,
            pool.plausibility,
            CopyTest(describe_images(images), groups, unseen, self._plan.flip_axes),
        )

    def _patches_at(self, update: int) -> Patches:
        """The cases at the size that images have in an update of the segmenter."""
        return self._patches.at(self._plan.size_at(update))

    def _to_generate(
        self, generation: Generation, cases: Sequence[int], purpose: str, size: tuple[int, ...]
    ) -> RealPairs:
        """Pairs for stage I, moved but not recoloured."""
        batches = self._batches(cases, f"stage I {purpose}", self._settings.batch_size, size, "space")
        return batches[generation.updates]

    def _views(self, generation: Generation, cases: Sequence[int], update: int) -> Iterator[RealPairs]:
        """Real pairs that the styles of these cases are taken from in an update: as they are, and moved."""
        patches = self._patches_at(update)
        return (patches.view(cases, view, update) for view in range(generation.steered.styles.views))

    def _take_styles(self, generation: Generation, update: int) -> None:
        """Take the styles of every case anew, and of those that lend their surroundings."""
        everyone = [*self._patches.everyone, *self._patches.surroundings]
        views = self._views(generation, everyone, update)
        take_styles(generation, everyone, views, self._plan, self._machine)

    def _synthetic(self, generation: Generation) -> int:
        """How many images of an update are synthetic now. Raises GeneratorError where feedback has left none."""
        wanted = round(generation.steered.share().item() * self._plan.batch_size)
        if wanted == 0:
            raise GeneratorError(
                "the error on held-out cases says that generated pairs do not help here: their share of an update's "
                f"images, {self._settings.share:g} at first, has fallen below half an image"
            )
        return min(wanted, self._plan.most_synthetic)

    def _real(self, cases: Sequence[int], update: int, count: int) -> RealPairs:
        """So many real pairs for stage II, some of them with predicted masks where there are such."""
        size = self._plan.size_at(update)
        others = unlabelled_images(self._plan, count) if self._further else 0
        labelled = self._batches(cases, f"stage II of {len(cases)}", count - others, size)[update]
        if not others:
            return labelled
        drawn_from = self._further, self._plan, self._seed, self._machine
        return joined(labelled, Batches(*drawn_from, batch_size=others, purpose="unlabelled", size=size)[update])

    def _batches(
        self, cases: Sequence[int], purpose: str, count: int, size: tuple[int, ...], changes: Changes = "plan"
    ) -> Batches:
        """Batches of `count` images of this size."""
        return Batches(
            [self._cases[case] for case in cases],
            self._plan,
            self._seed,
            self._machine,
            batch_size=count,
            purpose=purpose,
            changes=changes,
            size=size,
        )


def _feedback(found: Hypergradient, generation: Generation) -> dict[str, float]:
    """What the record keeps of stage III: the length of every term, and what it has led to."""
    architecture = generation.architecture()
    others = {name: found.direct.get(name) for name in generation.variables() if name not in architecture}
    return {
        "direct_norm": norm_of({name: found.direct.get(name) for name in architecture}).item(),
        "indirect_norm": norm_of(found.indirect).item(),
        "weights_norm": norm_of(found.weights).item(),
        **{f"norm_{name}": norm_of({name: gradient}).item() for name, gradient in others.items()},
        "architecture_entropy": generation.translator.generator.architecture_entropy().item(),
        **generation.steered.values(),
    }
