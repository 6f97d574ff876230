// Rows of features from CSV: the header names the features.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { LoadedModel } from '../../inference/engine.ts';
import type { FeatureRow } from './features.ts';
import { unknownFeature } from './features.ts';

/** Parsing holds up other requests for as long as it takes; this much takes about half a second. */
const maxCsvBytes = 8 * 1024 * 1024;
/** How spreadsheets and data tools write that there is no value. */
const missing = new Set(['', 'na', 'n/a', '#n/a', 'nan', 'null', 'none', '-', '?']);
const numeral = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Rows in the order of the manifest. Commas, semicolons or tabs, as the header has them. Throws `invalid_request`. */
export async function csvRows(body: Buffer, { interpretation }: LoadedModel): Promise<FeatureRow[]> {
  if (body.length > maxCsvBytes) throw new AppError('payload_too_large', `CSV is read up to ${maxCsvBytes} bytes`);
  const [header, ...records] = await parsed(body.toString('utf8'));
  if (!header || records.length === 0) {
    throw new AppError('invalid_request', 'CSV needs a header row with the names of the features, and rows below it');
  }
  const places = columns(header, interpretation);
  const texts = new Set(
    interpretation.featureInputs.flatMap(({ spec, features }) => (spec.datatype === 'BYTES' ? features : [])),
  );
  const whole = new Set(
    interpretation.featureInputs.flatMap(({ spec, features }) => (/INT64$/.test(spec.datatype) ? features : [])),
  );
  const defaulted = new Set(interpretation.featureInputs.flatMap(({ missing }) => [...missing.defaults.keys()]));
  return records.map((record) =>
    places.map(({ name, at }) => {
      if (at === undefined) return undefined;
      const cell = record[at] ?? '';
      if (texts.has(name)) return cell === '' && defaulted.has(name) ? null : cell;
      return cellValue(cell.trim(), whole.has(name));
    }),
  );
}

/** A number, the digits of a large integer, or the cell itself, which is then refused by the name of its feature. */
function cellValue(cell: string, whole: boolean): unknown {
  if (!numeral.test(cell)) return missing.has(cell.toLowerCase()) ? null : cell;
  const value = Number(cell);
  return whole && !Number.isSafeInteger(value) ? cell : value;
}

async function parsed(text: string): Promise<string[][]> {
  // Most devices are never asked in CSV.
  const { CsvError, parse } = await import('csv-parse/sync');
  const delimiter = [',', ';', '\t'].find((each) => text.slice(0, text.search(/[\r\n]|$/)).includes(each)) ?? ',';
  try {
    return parse(text, { bom: true, delimiter, skip_empty_lines: true });
  } catch (cause) {
    if (cause instanceof CsvError) throw new AppError('invalid_request', `CSV: ${messageOf(cause)}`, { cause });
    throw cause;
  }
}

/** For each feature its column; undefined where the manifest has a default for it. */
function columns(
  header: readonly string[],
  { featureNames: names, featureInputs }: LoadedModel['interpretation'],
): { name: string; at: number | undefined }[] {
  const titles = header.map((title) => title.trim());
  const unknown = titles.find((title) => !names.has(title));
  if (unknown !== undefined) throw new AppError('invalid_request', `CSV header: ${unknownFeature(unknown, names)}`);
  const twice = titles.find((title, at) => titles.indexOf(title) !== at);
  if (twice !== undefined) throw new AppError('invalid_request', `CSV header: feature "${twice}" is given twice`);
  return Array.from(names, (name) => {
    const at = titles.indexOf(name);
    const optional = featureInputs.some(({ missing }) => missing.defaults.has(name));
    if (at < 0 && !optional) throw new AppError('invalid_request', `CSV header: feature "${name}" is missing`);
    return { name, at: at < 0 ? undefined : at };
  });
}
