// Small values that appear on many pages: times, digests, labels, model versions.
import type { Labels } from '@edgeloop/shared/selector';
import { signal } from '@preact/signals';
import { formatAge, formatInstant } from '../format.ts';

const now = signal(Date.now());
setInterval(() => {
  now.value = Date.now();
}, 5000);

/** How long ago, with the absolute time on hovering. */
export function Ago({ at }: { at: number | null }) {
  if (at === null) return <span class="muted">never</span>;
  return (
    <time dateTime={new Date(at).toISOString()} title={formatInstant(at)}>
      {formatAge(at, Math.max(now.value, Date.now()))}
    </time>
  );
}

/** The first characters of a hash; the whole on hovering, and copied by a click. */
export function Digest({ hash }: { hash: string }) {
  return (
    <button
      type="button"
      class="digest"
      title={`${hash} (click to copy)`}
      onClick={() => void navigator.clipboard?.writeText(hash)}
    >
      {hash.slice(0, 12)}
    </button>
  );
}

export function LabelChips({ labels }: { labels: Labels }) {
  const entries = Object.entries(labels);
  if (entries.length === 0) return <span class="muted">none</span>;
  return (
    <span class="chips">
      {entries.map(([key, value]) => (
        <span key={key} class="chip">
          <span class="chip-key">{key}</span>
          {value !== '' && <span>{value}</span>}
        </span>
      ))}
    </span>
  );
}

export function ModelLink({ name }: { name: string }) {
  return <a href={`/models/${encodeURIComponent(name)}`}>{name}</a>;
}

export function VersionLink({ model, version }: { model: string; version: number }) {
  return <a href={`/models/${encodeURIComponent(model)}/versions/${version}`}>v{version}</a>;
}

export function DeviceLink({ id }: { id: string }) {
  return <a href={`/fleet/${encodeURIComponent(id)}`}>{id}</a>;
}

export function RunLink({ id }: { id: string }) {
  return <a href={`/training/runs/${encodeURIComponent(id)}`}>{shortId(id)}</a>;
}

export function RolloutLink({ id }: { id: string }) {
  return <a href={`/rollouts/${encodeURIComponent(id)}`}>{shortId(id)}</a>;
}

/** Ids that begin with the time differ at their end. */
export function shortId(id: string): string {
  return id.length > 14 ? `…${id.slice(-8)}` : id;
}
