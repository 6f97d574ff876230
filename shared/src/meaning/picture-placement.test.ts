import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ImageInput } from '../image-manifest.ts';
import { boxInPicture, placementOf } from './picture-placement.ts';

const side = fc.integer({ min: 1, max: 5000 });
const size = fc.record({ width: side, height: side });
const crop = fc.constantFrom('center' as const, 'stretch' as const, 'pad' as const);

describe('the way of a picture into a model', () => {
  it('takes whole pixels inside the picture onto whole pixels inside the input', () => {
    fc.assert(
      fc.property(size, size, crop, (picture, model, how) => {
        const { source, target } = placementOf(picture, ImageInput.parse({ ...model, crop: how }));
        for (const [area, within] of [
          [source, picture],
          [target, model],
        ] as const) {
          expect(Object.values(area).every(Number.isInteger)).toBe(true);
          expect(Math.min(area.width, area.height)).toBeGreaterThanOrEqual(1);
          expect(Math.min(area.left, area.top)).toBeGreaterThanOrEqual(0);
          expect(area.left + area.width).toBeLessThanOrEqual(within.width);
          expect(area.top + area.height).toBeLessThanOrEqual(within.height);
        }
        if (how !== 'center') expect(source).toEqual({ left: 0, top: 0, ...picture });
        if (how !== 'pad') expect(target).toEqual({ left: 0, top: 0, ...model });
      }),
    );
  });

  it('leads boxes back to where they were', () => {
    fc.assert(
      fc.property(size, size, crop, (picture, model, how) => {
        const placement = placementOf(picture, ImageInput.parse({ ...model, crop: how }));
        const { source, target } = placement;
        const whole = {
          left: target.left,
          top: target.top,
          right: target.left + target.width,
          bottom: target.top + target.height,
        };
        const back = boxInPicture(whole, placement);
        expect(back?.left).toBeCloseTo(source.left, 6);
        expect(back?.top).toBeCloseTo(source.top, 6);
        expect(back?.width).toBeCloseTo(source.width, 6);
        expect(back?.height).toBeCloseTo(source.height, 6);
      }),
    );
  });

  it('cuts boxes at the edges of the picture and drops those in the margin', () => {
    const placement = placementOf(
      { width: 200, height: 100 },
      ImageInput.parse({ width: 20, height: 20, crop: 'pad' }),
    );
    expect(placement.target).toEqual({ left: 0, top: 5, width: 20, height: 10 });
    expect(boxInPicture({ left: -4, top: 0, right: 10, bottom: 10 }, placement)).toEqual({
      left: 0,
      top: 0,
      width: 100,
      height: 50,
    });
    expect(boxInPicture({ left: 0, top: 0, right: 20, bottom: 4 }, placement)).toBeUndefined();
  });
});
