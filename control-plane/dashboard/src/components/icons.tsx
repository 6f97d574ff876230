// The few pictograms of the navigation, drawn on a 20-pixel grid.
import type { ComponentChildren } from 'preact';

const paths = {
  overview: <path d="M3 10.5 10 4l7 6.5M5 9v7h10V9" />,
  fleet: (
    <>
      <rect x="3" y="3.5" width="6" height="6" rx="1.5" />
      <rect x="11" y="3.5" width="6" height="6" rx="1.5" />
      <rect x="3" y="11" width="6" height="6" rx="1.5" />
      <rect x="11" y="11" width="6" height="6" rx="1.5" />
    </>
  ),
  models: <path d="m10 3 7 3.5-7 3.5-7-3.5L10 3Zm-7 7 7 3.5 7-3.5M3 13.5 10 17l7-3.5" />,
  rollouts: <path d="M4 16V9m4 7V6m4 10V11m4 5V3.5" />,
  monitoring: <path d="M3 10h3l2-5 4 10 2-5h3" />,
  training: (
    <>
      <path d="M10 3v3m0 8v3M3 10h3m8 0h3" />
      <circle cx="10" cy="10" r="4" />
    </>
  ),
  audit: <path d="M5 3.5h10v13H5zM8 7.5h4M8 10.5h4M8 13.5h2" />,
  sun: (
    <>
      <circle cx="10" cy="10" r="3.5" />
      <path d="M10 2v2m0 12v2M2 10h2m12 0h2M4.3 4.3l1.4 1.4m8.6 8.6 1.4 1.4m0-11.4-1.4 1.4m-8.6 8.6-1.4 1.4" />
    </>
  ),
  moon: <path d="M16.5 12.2A7 7 0 0 1 7.8 3.5a7 7 0 1 0 8.7 8.7Z" />,
  leave: <path d="M8 3.5H4.5v13H8M8 10h9m-3-3 3 3-3 3" />,
} satisfies Record<string, ComponentChildren>;

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
      {paths[name]}
    </svg>
  );
}

/** The mark of Edgeloop: a loop that passes through a device. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <path d="M22.5 11.5A8 8 0 1 0 24 16" />
      <circle cx="16" cy="16" r="2.6" />
      <circle cx="23" cy="11" r="2.6" />
    </svg>
  );
}
