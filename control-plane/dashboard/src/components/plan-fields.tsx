// The fields of a plan that most rollouts need; the command line has them all.
import type { Model } from '@edgeloop/shared/api/models';
import type { PlanField, PlanForm } from '../plan-form.ts';

interface Fields {
  form: PlanForm;
  models: Model[];
  change: (change: Partial<PlanForm>) => void;
}

const gateFields: [PlanField, string][] = [
  ['maxFailedDevices', 'Failed devices at most (share)'],
  ['maxErrorRate', 'Failed requests at most (share)'],
  ['minRequests', 'Requests needed'],
  ['maxRatio', 'Latency grows at most (times)'],
  ['maxLoss', 'Accuracy lost at most (share)'],
  ['minLabels', 'Labels needed'],
];

const whenFields: [PlanField, string, string][] = [
  ['fetchWindow', 'Files are fetched', 'at any time; or 22:00-04:00; sat,sun 08:00-20:00'],
  ['activateWindow', 'It begins to answer', 'at any time'],
  ['maxHold', 'Longest hold (seconds)', '86400'],
];

export function PlanFields({ form, models, change }: Fields) {
  const model = models.find(({ name }) => name === form.model);
  const text = (field: PlanField, label: string, hint = '') => (
    <label class="field" key={field}>
      {label}
      <input
        type="text"
        spellcheck={false}
        autoComplete="off"
        placeholder={hint}
        value={form[field]}
        onInput={(event) => change({ [field]: event.currentTarget.value })}
      />
    </label>
  );
  return (
    <form class="plan-form" onSubmit={(event) => event.preventDefault()}>
      <div class="plan-row">
        <label class="field">
          Model
          <select value={form.model} onChange={(event) => change({ model: event.currentTarget.value, version: '' })}>
            {models.map(({ name }) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <Version form={form} model={model} change={change} />
      </div>
      {text('selector', 'Devices', 'all; or site=oslo,line in (a,b)')}
      {text('waves', 'Waves')}
      <p class="muted small">
        Growing percentages, or numbers of devices as 5n; the last is 100. With names: <code>canary:5n,fleet:100</code>.
      </p>
      {text('approvals', 'Waves that wait for approval', 'none; or canary; fleet:admin:four-eyes')}
      {text('bake', 'Bake (seconds)')}
      <fieldset>
        <legend>Gates</legend>
        <div class="plan-row">{gateFields.map(([field, label]) => text(field, label))}</div>
      </fieldset>
      {text('evidenceTimeout', 'Wait for evidence (seconds)')}
      <label class="field">
        When a gate fails
        <select value={form.onFailure} onChange={(event) => change({ onFailure: event.currentTarget.value })}>
          <option value="rollback">roll back</option>
          <option value="pause">pause</option>
        </select>
      </label>
      <fieldset>
        <legend>When devices take it up, by their own clocks</legend>
        <div class="stack-small">{whenFields.map(([field, label, hint]) => text(field, label, hint))}</div>
      </fieldset>
    </form>
  );
}

function Version({ form, model, change }: Pick<Fields, 'form' | 'change'> & { model: Model | undefined }) {
  const versions = [...(model?.versions ?? [])].sort((a, b) => b.version - a.version);
  return (
    <label class="field">
      Version
      <select value={form.version} onChange={(event) => change({ version: event.currentTarget.value })}>
        {versions.map(({ version }) => (
          <option key={version} value={String(version)}>
            v{version}
          </option>
        ))}
        {(model?.aliases ?? []).map(({ alias, version }) => (
          <option key={alias} value={alias}>
            {alias} (v{version})
          </option>
        ))}
      </select>
    </label>
  );
}
