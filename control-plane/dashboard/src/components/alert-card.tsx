// One alert: what moved, where, since when, and what can be done about it.
import type { Alert } from '@edgeloop/shared/api/alerts';
import { useState } from 'preact/hooks';
import { formatInstant } from '../format.ts';
import { ActionButton } from './action.tsx';
import { AlertBadge } from './badge.tsx';
import { Bars } from './bars.tsx';
import { Ago, DeviceLink, ModelLink, VersionLink } from './values.tsx';

export function AlertCard({ alert }: { alert: Alert }) {
  const open = alert.status !== 'resolved';
  return (
    <article class={`card alert alert-${alert.status}`}>
      <div class="card-head">
        <AlertBadge status={alert.status} />
        <h2>
          {alert.kind} of <ModelLink name={alert.model} /> <VersionLink model={alert.model} version={alert.version} />
        </h2>
        {open && <AlertActions alert={alert} />}
      </div>
      <p>{alert.summary}</p>
      <p class="muted small">
        <Times alert={alert} />
      </p>
      <Scope alert={alert} />
      {alert.features.length > 0 && (
        <Bars
          title="Features that moved, with their thresholds"
          bars={alert.features.slice(0, 8).map(({ name, psi, threshold }) => ({ name, value: psi, threshold }))}
        />
      )}
    </article>
  );
}

function Times({ alert }: { alert: Alert }) {
  return (
    <>
      began <Ago at={alert.startedAt} />
      {alert.firedAt !== null && (
        <>
          , fired <Ago at={alert.firedAt} />
        </>
      )}
      {alert.resolvedAt !== null && (
        <>
          , resolved <Ago at={alert.resolvedAt} />
        </>
      )}
      {alert.acknowledgedBy !== null && `, acknowledged by ${alert.acknowledgedBy}`}
      {alert.silencedUntil !== null &&
        alert.silencedUntil > Date.now() &&
        `, silent until ${formatInstant(alert.silencedUntil)}`}
    </>
  );
}

function Scope({ alert }: { alert: Alert }) {
  const { kind, devices, detail } = alert.scope;
  if (kind === 'unknown' && detail === '') return null;
  const names = { device: 'one device', cohort: 'a cohort', fleet: 'the whole fleet', unknown: 'not known' };
  return (
    <p class="small">
      <span class="muted">Seen by </span>
      <strong>{names[kind]}</strong>
      {detail !== '' && ` (${detail})`}
      {kind !== 'fleet' &&
        devices.slice(0, 6).map((id) => (
          <span key={id}>
            {' '}
            <DeviceLink id={id} />
          </span>
        ))}
      {kind !== 'fleet' && devices.length > 6 && <span class="muted"> and {devices.length - 6} more</span>}
    </p>
  );
}

const silences = [
  { label: '1 hour', seconds: 3600 },
  { label: '8 hours', seconds: 28_800 },
  { label: '1 day', seconds: 86_400 },
  { label: '7 days', seconds: 604_800 },
];

function AlertActions({ alert }: { alert: Alert }) {
  const [seconds, setSeconds] = useState(3600);
  const path = `/alerts/${encodeURIComponent(alert.id)}`;
  return (
    <div class="card-actions">
      {alert.acknowledgedBy === null && (
        <ActionButton label="Acknowledge" tone="primary" request={() => ({ method: 'POST', path: `${path}/ack` })} />
      )}
      <span class="joined">
        <select
          aria-label="Silence for"
          value={seconds}
          onChange={(event) => setSeconds(Number(event.currentTarget.value))}
        >
          {silences.map((each) => (
            <option key={each.seconds} value={each.seconds}>
              {each.label}
            </option>
          ))}
        </select>
        <ActionButton
          label="Silence"
          request={() => ({ method: 'POST', path: `${path}/silence`, body: { seconds } })}
        />
      </span>
    </div>
  );
}
