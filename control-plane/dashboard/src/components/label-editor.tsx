// Labels of a device, shown as chips and changed as text.
import type { Device } from '@edgeloop/shared/api/devices';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { parseLabels } from '@edgeloop/shared/selector';
import { useState } from 'preact/hooks';
import { send } from '../api/client.ts';
import { announce } from '../api/events.ts';
import { Failure } from './layout.tsx';
import { LabelChips } from './values.tsx';

export function LabelEditor({ device }: { device: Device }) {
  const [text, setText] = useState<string | undefined>();
  const [error, setError] = useState<AppError | undefined>();
  if (text === undefined) {
    const asText = Object.entries(device.labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(',');
    return (
      <span class="inline">
        <LabelChips labels={device.labels} />
        <button type="button" class="link" onClick={() => setText(asText)}>
          Edit
        </button>
      </span>
    );
  }
  const save = async () => {
    try {
      await send({
        method: 'PATCH',
        path: `/devices/${encodeURIComponent(device.id)}`,
        body: { labels: parseLabels(text) },
      });
      announce(new Set(['device']));
      setText(undefined);
      setError(undefined);
    } catch (cause) {
      setError(cause instanceof AppError ? cause : new AppError('internal', messageOf(cause), { cause }));
    }
  };
  return (
    <form
      class="inline"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <input
        type="text"
        aria-label="Labels as key=value, separated by commas"
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <button type="submit" class="button button-primary">
        Save
      </button>
      <button type="button" class="button" onClick={() => setText(undefined)}>
        Cancel
      </button>
      {error !== undefined && <Failure error={error} />}
    </form>
  );
}
