// What is told of a picture, a sound, or any other tensor: by its place in the summary that the journal holds. A field is never
// moved or taken away: journals of former agents are read with this list.
export const summaryFields = {
  /** From 0 to 1 but for `warmth`, red less blue; `blur` is missing of a picture without any detail; `aspect`: width by height. */
  picture: ['brightness', 'contrast', 'saturation', 'warmth', 'sharpness', 'blur', 'aspect'],
  /** `loudness` in dB below full scale, shares of silence and clipped samples, `centroid` in Hz. */
  sound: ['loudness', 'silence', 'clipping', 'centroid'],
  /** Moments and range of what is finite; shares of zeros, NaN and infinities; `elements`: how many there are. */
  tensor: ['mean', 'deviation', 'zeros', 'nan', 'infinite', 'low', 'high', 'elements'],
} as const;
