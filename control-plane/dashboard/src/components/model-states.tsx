// What a device runs of each model, and what it is bringing up.
import type { ModelReport } from '@edgeloop/shared/messages';
import { ActivationBadge } from './badge.tsx';
import { VersionLink } from './values.tsx';

export function ModelStates({ models }: { models: ModelReport[] }) {
  if (models.length === 0) return <span class="muted">none</span>;
  return (
    <span class="model-states">
      {models.map((model) => (
        <span key={model.name} class="model-state">
          {model.name}{' '}
          {model.active === null ? (
            <span class="muted">not active</span>
          ) : (
            <VersionLink model={model.name} version={model.active.version} />
          )}
          {model.candidate !== null && (
            <span class="candidate" title={model.candidate.error?.message}>
              {' → '}v{model.candidate.version} <ActivationBadge state={model.candidate.state} />
            </span>
          )}
        </span>
      ))}
    </span>
  );
}
