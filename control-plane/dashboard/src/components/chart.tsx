// A line chart: uPlot, dressed in the page's colours and as wide as its card.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { ChartTable } from '../api/chart-table.ts';
import { cssColor, cssFont, theme } from '../theme.ts';

export interface Line {
  name: string;
  /** Custom property with its colour, for example `--series-1`. */
  color: string;
  dashed?: boolean;
}

interface ChartProps {
  /** Read out instead of the picture. */
  title: string;
  lines: Line[];
  table: ChartTable;
  format: (value: number) => string;
  /** Seconds since the epoch, or steps; the data's own range when unset. */
  range?: [from: number, to: number];
  /** Upright marks with a word, at seconds since the epoch. */
  marks?: { at: number; text: string }[];
  /** The x axis counts steps, not time. */
  steps?: boolean;
  /** Greatest value that the y axis can have, for ratios. */
  ceiling?: number;
}

const height = 190;

export function Chart(props: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const latest = useRef(props);
  latest.current = props;
  const shape = JSON.stringify([props.lines, props.steps, props.ceiling, theme.value]);

  useEffect(() => {
    const element = host.current;
    if (element === null) return;
    const chart = new uPlot(optionsOf(latest, element.clientWidth), dataOf(latest.current.table), element);
    plot.current = chart;
    const resize = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      chart.destroy();
      plot.current = undefined;
    };
  }, [shape]);

  useEffect(() => plot.current?.setData(dataOf(props.table)), [props.table]);
  useEffect(() => plot.current?.redraw(false), [JSON.stringify(props.marks)]);

  return <div class="chart" ref={host} role="img" aria-label={`${props.title}: ${spoken(props)}`} />;
}

function optionsOf(latest: { current: ChartProps }, width: number): uPlot.Options {
  const { lines, steps, format } = latest.current;
  return {
    width,
    height,
    padding: [16, 20, 0, 0],
    cursor: { y: false, points: { size: 7 }, sync: { key: steps === true ? `steps-${lines.length}` : 'time' } },
    legend: { live: true },
    scales: {
      x: { time: steps !== true, range: (_plot, low, high) => xRange(latest.current, low, high) },
      y: { range: (_plot, low, high) => yRange(latest.current, low, high) },
    },
    axes: axesOf(latest),
    series: [
      {
        label: steps === true ? 'step' : 'time',
        value: (_plot, at) => (at === null ? 'latest' : pointName(at, steps)),
      },
      ...lines.map((line, i): uPlot.Series => {
        const stroke = cssColor(line.color);
        return {
          label: line.name,
          stroke,
          width: 1.75,
          ...(line.dashed === true ? { dash: [4, 4] } : {}),
          points: { size: 4, fill: stroke },
          value: (_plot, value, _series, at) => written(at === null ? lastOf(latest.current, i) : value, format),
        };
      }),
    ],
    hooks: { draw: [(chart) => drawMarks(chart, latest.current)] },
  };
}

function axesOf(latest: { current: ChartProps }): uPlot.Axis[] {
  const ink = cssColor('--muted');
  const grid = { stroke: cssColor('--grid'), width: 1 };
  const font = `11px ${cssFont()}`;
  const shared = { stroke: ink, font, grid, ticks: { show: false } };
  const x: uPlot.Axis = { ...shared, grid: { show: false }, space: 70, size: 28 };
  const clock: uPlot.Axis.Values = (_plot, splits) => splits.map((at) => axisTime(at, latest.current.range));
  const values: uPlot.Axis.Values = (_plot, splits) => splits.map((value) => latest.current.format(value));
  return [latest.current.steps === true ? x : { ...x, values: clock }, { ...shared, size: 54, space: 36, values }];
}

function axisTime(at: number, range: [number, number] | undefined): string {
  const date = new Date(at * 1000);
  const span = range === undefined ? 0 : range[1] - range[0];
  if (span > 86_400) return date.toLocaleDateString('sv-SE').slice(5);
  const time = date.toLocaleTimeString('sv-SE');
  return span <= 600 ? time : time.slice(0, 5);
}

function pointName(at: number, steps: boolean | undefined): string {
  return steps === true ? String(at) : new Date(at * 1000).toLocaleString('sv-SE');
}

function xRange(props: ChartProps, low: number, high: number): [number, number] {
  return props.range ?? (low === high ? [low - 1, high + 1] : [low, high]);
}

/** From zero, so that a small wobble does not look like a cliff, up to some room above the highest value. */
function yRange(props: ChartProps, low: number | null, high: number | null): [number, number] {
  const bottom = Math.min(0, low ?? 0);
  const top = (high ?? 0) <= bottom ? bottom + (props.ceiling ?? 1) : (high ?? 1) + ((high ?? 1) - bottom) * 0.1;
  return [bottom, props.ceiling === undefined ? top : Math.min(top, Math.max(props.ceiling, high ?? 0))];
}

function drawMarks(chart: uPlot, props: ChartProps): void {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.strokeStyle = cssColor('--mark');
  ctx.fillStyle = cssColor('--muted');
  ctx.font = `${10 * devicePixelRatio}px ${cssFont()}`;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const mark of props.marks ?? []) {
    const x = Math.round(chart.valToPos(mark.at, 'x', true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const late = x > bbox.left + bbox.width * 0.85;
    ctx.textAlign = late ? 'right' : 'left';
    ctx.fillText(mark.text, x + (late ? -4 : 4) * devicePixelRatio, bbox.top - 4 * devicePixelRatio);
  }
  ctx.restore();
}

function dataOf(table: ChartTable): uPlot.AlignedData {
  return [table.times, ...table.columns];
}

function lastOf(props: ChartProps, line: number): number | null | undefined {
  return props.table.columns[line]?.findLast((value) => typeof value === 'number');
}

function written(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? '–' : format(value);
}

function spoken(props: ChartProps): string {
  return props.lines.map((line, i) => `${line.name} ${written(lastOf(props, i), props.format)}`).join(', ');
}
