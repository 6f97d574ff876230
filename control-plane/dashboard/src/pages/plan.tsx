// A rollout before it starts: what is typed in on one side, on the other what would become of it.
import { RolloutForecast } from '@edgeloop/shared/api/forecasts';
import { Model } from '@edgeloop/shared/api/models';
import { Rollout } from '@edgeloop/shared/api/rollouts';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { useEffect, useState } from 'preact/hooks';
import { useLocation } from 'preact-iso/router';
import { send } from '../api/client.ts';
import { useRefusal } from '../api/me.ts';
import { useFetch, useList } from '../api/queries.ts';
import { ActionButton } from '../components/action.tsx';
import { CommandLine } from '../components/command-line.tsx';
import { Card, Empty, Failure, Loaded, PageHead } from '../components/layout.tsx';
import { PlanFields } from '../components/plan-fields.tsx';
import { Rehearsal } from '../components/rehearsal.tsx';
import { bodyOf, commandOf, type PlanForm, usualForm } from '../plan-form.ts';

export function PlanPage() {
  const { query } = useLocation();
  const models = useList(Model, { path: '/models', on: ['model'] });
  const [form, setForm] = useState(() => usualForm(query.model, query.version));
  return (
    <>
      <PageHead
        title="Plan a rollout"
        parents={[{ title: 'Rollouts', path: '/rollouts' }]}
        note="Nothing starts here before you say so."
      />
      <Loaded query={models}>
        {(found) => {
          const whole = chosen(form, found);
          if (whole === undefined)
            return <Empty title="There is no version to release." command="edgeloop models push NAME model.onnx" />;
          return (
            <div class="planning">
              <Card title="Plan">
                <PlanFields form={whole} models={found} change={(change) => setForm({ ...whole, ...change })} />
              </Card>
              <Outlook form={whole} />
            </div>
          );
        }}
      </Loaded>
    </>
  );
}

/** Where no model or version was chosen, the first that has one, and its newest. */
function chosen(form: PlanForm, models: readonly Model[]): PlanForm | undefined {
  const model =
    models.find(({ name }) => name === form.model) ?? models.find(({ versions }) => versions.length > 0) ?? models[0];
  const newest = model?.versions.reduce((most, { version }) => Math.max(most, version), 0);
  const version = form.version !== '' ? form.version : String(newest || '');
  return model === undefined || version === '' ? undefined : { ...form, model: model.name, version };
}

/** As it is to be sent, or what is wrong with it. */
function readForm(form: PlanForm): { body: string } | { error: AppError } {
  try {
    return { body: JSON.stringify(bodyOf(form)) };
  } catch (cause) {
    return { error: cause instanceof AppError ? cause : new AppError('internal', messageOf(cause), { cause }) };
  }
}

function Outlook({ form }: { form: PlanForm }) {
  const { route } = useLocation();
  const read = readForm(useSettled(form));
  const body = 'body' in read ? read.body : null;
  const forecast = useFetch({
    schema: RolloutForecast,
    key: body === null ? null : `/rollouts/plan?${body}`,
    load: () => send({ method: 'POST', path: '/rollouts/plan', body: JSON.parse(body ?? '{}'), asks: true }),
    on: ['device', 'model', 'rollout'],
    gatherMs: 1000,
  });
  const forbidden = useRefusal('operator');
  const wrong = 'error' in read || forecast.error !== undefined;
  return (
    <div class="stack">
      {'error' in read && <Failure error={read.error} />}
      <Loaded query={forecast}>{(found) => <Rehearsal forecast={found} />}</Loaded>
      <Card title="Release it">
        <ActionButton
          label="Create the rollout"
          tone="primary"
          confirm={`Version ${form.version} of ${form.model} is released by this plan; what waits for no approval begins at once.`}
          refusal={forbidden ?? (wrong ? 'The plan cannot be carried out as it is.' : undefined)}
          request={() => ({ method: 'POST', path: '/rollouts', body: bodyOf(form) })}
          done={(answer) => route(`/rollouts/${encodeURIComponent(Rollout.parse(answer).id)}`)}
        />
        <CommandLine text={commandOf(form)} />
      </Card>
    </div>
  );
}

/** Typing is over when nothing came for so long. */
const typingMs = 400;

/** The form as it was when it had stood still for a moment. */
function useSettled(form: PlanForm): PlanForm {
  const [settled, setSettled] = useState(form);
  const key = JSON.stringify(form);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(form), typingMs);
    return () => clearTimeout(timer);
  }, [key]);
  return settled;
}
