// One alert: what moved, where, since when, and what can be done about it.
import type { Alert, ListedAlert } from '@edgeloop/shared/api/alerts';
import { useState } from 'preact/hooks';
import { formatInstant, formatNumber, words } from '../format.ts';
import { ActionButton } from './action.tsx';
import { AlertBadge, Badge } from './badge.tsx';
import { Bars } from './bars.tsx';
import { ComparedBins } from './compared-bins.tsx';
import { Ago, DeviceLink, ModelLink, VersionLink } from './values.tsx';

const severityTones = { info: 'info', warning: 'wait', critical: 'bad' } as const;

export function AlertCard({ alert, whole = false }: { alert: ListedAlert; whole?: boolean }) {
  const open = alert.status !== 'resolved';
  return (
    <article class={`card alert alert-${alert.status}`}>
      <div class="card-head">
        <AlertBadge status={alert.status} />
        <Badge tone={severityTones[alert.severity]}>{alert.severity}</Badge>
        <h2>
          <AlertTitle alert={alert} />
        </h2>
        {!whole && <a href={`/monitoring/alerts/${encodeURIComponent(alert.id)}`}>Details</a>}
        {open && <AlertActions alert={alert} />}
      </div>
      <p>{alert.summary}</p>
      {open && alert.evidence.state === 'insufficient' && (
        <p>
          <Badge tone="wait">insufficient evidence</Badge> {alert.evidence.detail}
        </p>
      )}
      {alert.resolution !== null && (
        <p>
          <span class="muted">Ended: </span>
          {alert.resolution.summary}
        </p>
      )}
      <p class="muted small">
        <Times alert={alert} />
      </p>
      <Scope alert={alert} />
      {alert.features.length > 0 && (
        <Bars
          title="Features that moved, with their thresholds"
          bars={alert.features.slice(0, 8).map(({ name, psi, threshold, change }) => ({
            ...{ name, value: psi, threshold },
            ...(change === undefined ? {} : { text: `${formatNumber(psi)} ${change}` }),
          }))}
        />
      )}
      {alert.features
        .slice(0, 4)
        .map(({ name, histogram }) => histogram && <ComparedBins key={name} title={name} histogram={histogram} />)}
    </article>
  );
}

export function AlertTitle({ alert }: { alert: Alert }) {
  const { model, version, kind, ruleId, labels } = alert;
  const what = kind === 'metric' ? words(ruleId.replace(/^default-/, '').replaceAll('-', '_')) : kind;
  return (
    <>
      {what}
      {model !== null && (
        <>
          {' '}
          of <ModelLink name={model} /> {version !== null && <VersionLink model={model} version={version} />}
        </>
      )}
      {labels.device !== undefined && (
        <>
          {' '}
          of <DeviceLink id={labels.device} />
        </>
      )}
    </>
  );
}

function Times({ alert }: { alert: ListedAlert }) {
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
      {alert.note !== null && `: ${alert.note}`}
      {alert.silencedBy.length > 0 && ', muted by a silence'}
      {alert.inhibitedBy !== null && ', explained by another alert and not told'}
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
      {(alert.scope.faults ?? []).slice(0, 4).map((fault) => (
        <span key={`${fault.device} ${fault.signal}`}>
          . <strong>{fault.signal}</strong> of {fault.device} seems <strong>{fault.kind}</strong>: {fault.detail}
        </span>
      ))}
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
      {alert.kind === 'drift' && (
        <ActionButton
          label="New normal"
          confirm="What came in since the alert began becomes the reference of this version, and the alert ends."
          reasoned
          request={(why) => ({ method: 'POST', path: `${path}/accept`, body: { why } })}
        />
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
