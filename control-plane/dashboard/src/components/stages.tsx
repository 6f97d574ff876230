// The stages of a training run as a line, up to where it is.
import type { Run } from '@edgeloop/shared/api/training';

const stages = ['queued', 'data', 'training', 'evaluation', 'registration', 'release', 'done'] as const;

export function Stages({ run }: { run: Run }) {
  const at = stages.indexOf(run.stage);
  const broken = run.status === 'failed' || run.status === 'cancelled' || run.status === 'rejected';
  return (
    <ol class="stages" aria-label="Stages">
      {stages.map((stage, i) => {
        const state = i < at || run.status === 'succeeded' ? 'past' : i === at ? (broken ? 'broken' : 'now') : 'ahead';
        return (
          <li key={stage} class={`stage-${state}`} aria-current={i === at ? 'step' : undefined}>
            {stage}
          </li>
        );
      })}
    </ol>
  );
}
