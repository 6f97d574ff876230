// @peculiar/x509 registers its algorithms through tsyringe, which refuses to load without the reflection of decorators.
// Nothing there has injected parameters, so "no metadata" is the whole truth. Import this first.
if (!('getMetadata' in Reflect))
  Object.assign(Reflect, { getMetadata: () => undefined, getOwnMetadata: () => undefined });
