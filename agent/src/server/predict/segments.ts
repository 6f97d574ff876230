// Which pixels of the picture are what, for models that say so of every pixel.
import type { SegmentationOutputs } from '@edgeloop/shared/detection-manifest';
import { maskOf } from '@edgeloop/shared/meaning/mask';
import { boxInPicture } from '@edgeloop/shared/meaning/picture-placement';
import { type ClassMap, classMap } from '@edgeloop/shared/meaning/segmentation';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { LoadedModel } from '../../inference/engine.ts';
import { rounded, type Seeing, seeingOf, unlike } from './detections.ts';
import type { Inputs } from './inputs.ts';

/** `image`, the `area` of it that the masks are of, and `segments`: a mask for each class that is there, largest first. */
export function segmentsAnswer(
  model: LoadedModel,
  segmentation: SegmentationOutputs,
  outputs: readonly NamedTensor[],
  inputs: Inputs,
): object {
  const seeing = seeingOf(inputs);
  const { labels } = model.interpretation;
  const { activation } = model.files.manifest.outputs;
  const map = classMap({ segmentation, labels: labels?.length, activation }, outputs);
  if (typeof map === 'string') throw unlike(model, map);
  const { left, top, rows, columns } = withoutMargins(map, seeing);
  const placeAt = (row: number, column: number): number => map.places[(top + row) * map.columns + left + column] ?? -1;
  const counts = new Map<number, number>();
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const place = placeAt(row, column);
      if (place >= 0 && place !== segmentation.background) counts.set(place, (counts.get(place) ?? 0) + 1);
    }
  }
  const [x, y] = [seeing.size.width / map.columns, seeing.size.height / map.rows];
  const edges = { left: left * x, top: top * y, right: (left + columns) * x, bottom: (top + rows) * y };
  const area = boxInPicture(edges, seeing.placement) ?? { left: 0, top: 0, ...seeing.placement.picture };
  return {
    image: seeing.placement.picture,
    area: rounded(area),
    segments: [...counts]
      .sort(([, a], [, b]) => b - a)
      .map(([place, count]) => ({
        label: labels?.[place] ?? String(place),
        share: count / (rows * columns),
        mask: maskOf(rows, columns, (row, column) => placeAt(row, column) === place),
      })),
  };
}

/** The cells of the map whose middle lies in the picture; at least one. */
function withoutMargins(
  { rows, columns }: ClassMap,
  { placement: { target }, size }: Seeing,
): { left: number; top: number; rows: number; columns: number } {
  const [left, right] = cellsWithin(target.left, target.width, columns / size.width, columns);
  const [top, bottom] = cellsWithin(target.top, target.height, rows / size.height, rows);
  return { left, top, rows: bottom - top, columns: right - left };
}

function cellsWithin(start: number, length: number, scale: number, cells: number): [from: number, to: number] {
  const from = Math.min(cells - 1, Math.ceil(start * scale - 0.5));
  const to = Math.min(cells, Math.ceil((start + length) * scale - 0.5));
  return [from, Math.max(from + 1, to)];
}
