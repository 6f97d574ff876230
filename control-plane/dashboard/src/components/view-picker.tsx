// Chooses of which devices the charts are, by any label, and by what their lines are told apart.
import { Device } from '@edgeloop/shared/api/devices';
import type { GroupBy } from '@edgeloop/shared/api/metrics';
import { useId } from 'preact/hooks';
import { chosenGroup, selectorProblem, selectorText } from '../api/chart-view.ts';
import { useList } from '../api/queries.ts';

const named: GroupBy[] = ['model', 'version', 'variant', 'status', 'hardware'];

export function ViewPicker() {
  const devices = useList(Device, { path: '/devices', limit: 1000, on: ['device'] });
  const id = useId();
  const pairs = (devices.data ?? []).flatMap(({ labels }) => Object.entries(labels));
  const keys = [...new Set(pairs.map(([key]) => key))].sort();
  const texts = [...new Set(pairs.map(([key, value]) => `${key}=${value}`))].sort().slice(0, 200);
  const groups: GroupBy[] = [...named, ...keys.map((key): GroupBy => `label:${key}`)];
  const wrong = selectorProblem(selectorText.value);
  return (
    <>
      <search class="filters">
        <label class="field grow">
          Devices in the charts
          <input
            type="search"
            placeholder="all, or by labels such as site=paris"
            spellcheck={false}
            list={`${id}-labels`}
            value={selectorText.value}
            aria-invalid={wrong !== ''}
            aria-describedby={`${id}-problem`}
            onInput={(event) => {
              selectorText.value = event.currentTarget.value;
            }}
          />
          <datalist id={`${id}-labels`}>
            {texts.map((text) => (
              <option key={text} value={text} />
            ))}
          </datalist>
        </label>
        <label class="field">
          Lines by
          <select
            value={chosenGroup.value ?? ''}
            onChange={(event) => {
              chosenGroup.value = groups.find((group) => group === event.currentTarget.value);
            }}
          >
            <option value="">as usual</option>
            {groups.map((group) => (
              <option key={group} value={group}>
                {group.replace(':', ' ')}
              </option>
            ))}
          </select>
        </label>
      </search>
      <p id={`${id}-problem`} class="problem" role="status">
        {wrong}
      </p>
    </>
  );
}
