// What a rollout would do: a card a wave, with its devices and what its gates would see.
import type { GateForecast, RolloutForecast, WaveForecast } from '@edgeloop/shared/api/forecasts';
import type { ComponentChildren } from 'preact';
import { formatDuration, formatInstant, formatNumber, formatPoints, formatShare, words } from '../format.ts';
import { BacktestCard } from './backtest-card.tsx';
import { Badge } from './badge.tsx';
import { Card, Facts, Figure } from './layout.tsx';
import { type Column, Table } from './table.tsx';
import { DeviceLink, RolloutLink } from './values.tsx';

export function Rehearsal({ forecast }: { forecast: RolloutForecast }) {
  const { waves, conflicting, supersedes } = forecast;
  return (
    <>
      <Summary forecast={forecast} />
      {forecast.backtest && <BacktestCard backtest={forecast.backtest} />}
      {conflicting.length + supersedes.length > 0 && (
        <div class="notice" role="status">
          {conflicting.length > 0 && (
            <p>
              Ahead of this server, and in no wave until an operator decides:{' '}
              <Names ids={conflicting} all={conflicting.length} />
            </p>
          )}
          {supersedes.map((id) => (
            <p key={id}>
              It takes over devices of the rollout <RolloutLink id={id} />.
            </p>
          ))}
        </div>
      )}
      {waves.map((wave) => (
        <Wave key={wave.wave} wave={wave} all={waves.length} />
      ))}
    </>
  );
}

function Summary({ forecast: { devices, conflicting, hours, waves } }: { forecast: RolloutForecast }) {
  const sum = (of: 'offline' | 'held' | 'outOfWindow') =>
    waves.reduce((all, { counts }) => all + (counts?.[of] ?? 0), 0);
  const pauses = hours === null;
  return (
    <div class="figures">
      <Figure
        name="Devices"
        value={devices}
        note={conflicting.length === 0 ? 'match' : `${conflicting.length} ahead`}
      />
      <Figure name="Offline" value={sum('offline')} note="follow when they return" />
      <Figure name="Held back" value={sum('held')} note="by their own software" />
      <Figure name="Out of window" value={sum('outOfWindow')} note="by their own clocks" />
      <Figure
        name="Judged after"
        value={pauses ? '–' : formatDuration(hours * secondsOfAnHour)}
        note={pauses ? 'a wave would pause' : 'all waves together'}
        {...(pauses ? { tone: 'bad' } : {})}
      />
    </div>
  );
}

const besideTexts = { rest: 'the rest', last_period: 'the old version before', nothing: 'nothing' } as const;

function Wave({ wave, all }: { wave: WaveForecast; all: number }) {
  const name = wave.name === undefined ? '' : ` (${wave.name})`;
  return (
    <Card
      title={`Wave ${wave.wave + 1} of ${all}${name}`}
      note={`${wave.devices} device${wave.devices === 1 ? '' : 's'}, compared with ${besideTexts[wave.comparedWith]}`}
      actions={wave.hours === null && wave.gates.length > 0 ? <Badge tone="bad">would pause</Badge> : undefined}
    >
      <p>{wave.detail}</p>
      {wave.devices > 0 && <Facts facts={factsOf(wave)} />}
      {wave.gates.length > 0 && (
        <Table
          caption={`Gates of wave ${wave.wave + 1}`}
          columns={gateColumns}
          rows={wave.gates}
          id={({ gate }) => gate}
        />
      )}
    </Card>
  );
}

function factsOf({ devices, deviceIds, offline, held, outOfWindow, zoneUnknown, counts }: WaveForecast) {
  const facts: [string, ComponentChildren][] = [['Devices', <Names key="devices" ids={deviceIds} all={devices} />]];
  const names = (title: string, ids: string[], all = ids.length) => {
    if (ids.length > 0) facts.push([title, <Names key={title} ids={ids} all={all} />]);
  };
  const waits = (title: string, found: Wait[], all = found.length) => {
    if (found.length > 0) facts.push([title, <Waits key={title} waits={found} all={all} />]);
  };
  names('Offline', offline, counts?.offline);
  waits(
    'Held back',
    held.map(({ reason, ...each }) => ({ ...each, why: reason })),
    counts?.held,
  );
  waits(
    'Out of window',
    outOfWindow.map(({ timeZone, ...each }) => ({ ...each, why: timeZone })),
    counts?.outOfWindow,
  );
  names('Time zone unknown', zoneUnknown, counts?.zoneUnknown);
  return facts;
}

/** Devices that are named; the others are counted. */
const namedAtOnce = 12;

function Names({ ids, all }: { ids: readonly string[]; all: number }) {
  const more = all - Math.min(ids.length, namedAtOnce);
  return (
    <span class="names">
      {ids.slice(0, namedAtOnce).map((id) => (
        <DeviceLink key={id} id={id} />
      ))}
      {more > 0 && <span class="muted">and {more} more</span>}
    </span>
  );
}

interface Wait {
  deviceId: string;
  until: number;
  why: string;
}

function Waits({ waits, all }: { waits: readonly Wait[]; all: number }) {
  const more = all - Math.min(waits.length, namedAtOnce);
  return (
    <ul>
      {waits.slice(0, namedAtOnce).map(({ deviceId, until, why }) => (
        <li key={deviceId}>
          <DeviceLink id={deviceId} /> until {formatInstant(until)} <span class="muted">({why})</span>
        </li>
      ))}
      {more > 0 && <li class="muted">and {more} more</li>}
    </ul>
  );
}

const secondsOfAnHour = 3600;

const gateColumns: Column<GateForecast>[] = [
  {
    title: 'Gate',
    cell: ({ gate, mode }) => (
      <span class="nowrap">
        <strong>{words(gate)}</strong>
        {mode === 'warn' && <span class="muted"> warns</span>}
      </span>
    ),
  },
  {
    title: 'Judges after',
    kind: 'number',
    cell: ({ hoursToMinimum }) =>
      hoursToMinimum === null ? 'never' : formatDuration(hoursToMinimum * secondsOfAnHour),
  },
  { title: 'Sees from', kind: 'number', cell: seenText },
  { title: 'In words', kind: 'sentence', cell: ({ detail }) => detail },
];

/** The smallest change that is seen by then. */
function seenText({ gate, seen }: GateForecast): string {
  if (seen === null) return 'nothing';
  if (gate === 'latency') return `${formatNumber(seen)} times`;
  return gate === 'error_rate' ? formatShare(seen) : formatPoints(seen).replace('+', '');
}
