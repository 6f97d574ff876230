// The device port's blobs: each device gets the release documents and model files that it should run, and no others.
import { AppError } from '@edgeloop/shared/errors';
import type { Blobs } from '../blobs/folder.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { createDeviceRouter, type DeviceRouter } from '../http/device-router.ts';
import { blobResponse } from './blob-response.ts';
import type { Registry } from './registry.ts';

export interface RegistryDeviceDeps {
  registry: Pick<Registry, 'releaseBlobs'>;
  blobs: Blobs;
  fleet: Pick<Fleet, 'desiredModels'>;
}

/** `GET /blobs/{digest}`; takes `Range`. */
export function registryDeviceRoutes({ registry, blobs, fleet }: RegistryDeviceDeps): DeviceRouter {
  const router = createDeviceRouter();
  router.get('/blobs/:digest', async (c) => {
    const digest = c.req.param('digest');
    for (const [name, { version, beside }] of await fleet.desiredModels(c.var.device.id)) {
      for (const each of beside === undefined ? [version] : [version, beside.version])
        if ((await registry.releaseBlobs(name, each)).includes(digest)) return blobResponse(c, blobs, digest);
    }
    throw new AppError('forbidden', `blob ${digest} is not part of what this device should run; read desired again`);
  });
  return router;
}
