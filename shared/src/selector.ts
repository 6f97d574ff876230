// Device labels and the selector language over them: `site=paris,tier!=lab,gpu,!retired,region in (eu,us)`.
import { z } from 'zod';
import { AppError } from './errors.ts';

const labelKey = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/;
const labelValue = /^[A-Za-z0-9._/-]{0,63}$/;

export const Labels = z
  .record(
    z.string().regex(labelKey, 'a label key must be 1 to 63 letters, digits, ".", "_", "/" or "-"'),
    z.string().regex(labelValue, 'a label value must be up to 63 letters, digits, ".", "_", "/" or "-"'),
  )
  .refine((labels) => Object.keys(labels).length <= 64, 'at most 64 labels');
export type Labels = z.infer<typeof Labels>;

export type Requirement =
  | { kind: 'in'; key: string; values: string[] }
  | { kind: 'notIn'; key: string; values: string[] }
  | { kind: 'exists'; key: string }
  | { kind: 'missing'; key: string };

/** All requirements must hold; an empty selector matches every device. */
export type Selector = Requirement[];

/** A selector in text form, checked. */
export const SelectorText = z
  .string()
  .max(2000)
  .superRefine((text, context) => {
    try {
      parseSelector(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
    }
  });

/**
 * Parses the text form.
 * @throws AppError `invalid_request` naming the part that is wrong
 */
export function parseSelector(text: string): Selector {
  if (text.trim() === '') return [];
  return splitOutsideParentheses(text).map(parseRequirement);
}

export function matches(selector: Selector, labels: Labels): boolean {
  return selector.every((requirement) => holds(requirement, labels));
}

/** Parses `key=value,key=value`, the form of `EDGELOOP_LABELS` and `--label`. */
export function parseLabels(text: string): Labels {
  const labels: [string, string][] = [];
  for (const part of text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '')) {
    const at = part.indexOf('=');
    if (at < 1) throw new AppError('invalid_request', `label "${part}" must have the form key=value`);
    labels.push([part.slice(0, at).trim(), part.slice(at + 1).trim()]);
  }
  const result = Labels.safeParse(Object.fromEntries(labels));
  if (result.success) return result.data;
  throw new AppError('invalid_request', `labels "${text}": ${result.error.issues[0]?.message ?? 'invalid'}`);
}

function parseRequirement(part: string): Requirement {
  const text = part.trim();
  const membership = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(text);
  if (membership !== null) {
    const [, key = '', operator, list = ''] = membership;
    return {
      kind: operator === 'in' ? 'in' : 'notIn',
      key: checkedKey(key, text),
      values: list.split(',').map((value) => checkedValue(value.trim(), text)),
    };
  }
  const comparison = /^([^=!]+?)\s*(!=|==|=)\s*(.*)$/.exec(text);
  if (comparison !== null) {
    const [, key = '', operator, value = ''] = comparison;
    return {
      kind: operator === '!=' ? 'notIn' : 'in',
      key: checkedKey(key, text),
      values: [checkedValue(value, text)],
    };
  }
  if (text.startsWith('!')) return { kind: 'missing', key: checkedKey(text.slice(1).trim(), text) };
  return { kind: 'exists', key: checkedKey(text, text) };
}

function checkedKey(key: string, part: string): string {
  if (labelKey.test(key)) return key;
  throw new AppError(
    'invalid_request',
    `selector part "${part}" is not understood; use key=value, key!=value, key, !key, key in (a,b) or key notin (a,b), separated by commas`,
  );
}

function checkedValue(value: string, part: string): string {
  if (labelValue.test(value)) return value;
  throw new AppError('invalid_request', `selector part "${part}" has the invalid value "${value}"`);
}

function splitOutsideParentheses(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++;
    if (text[i] === ')') depth--;
    if (text[i] === ',' && depth === 0) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

function holds(requirement: Requirement, labels: Labels): boolean {
  const value = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
  switch (requirement.kind) {
    case 'in':
      return value !== undefined && requirement.values.includes(value);
    case 'notIn':
      return value === undefined || !requirement.values.includes(value);
    case 'exists':
      return value !== undefined;
    case 'missing':
      return value === undefined;
  }
}
