// What the rooms' routes on the device port are built with. Bodies are tolerant of unknown keys, as the messages are.
import { parseJson } from '@edgeloop/shared/errors';
import { type Context, Hono } from 'hono';
import type { z } from 'zod';

/** A device's verified client certificate. */
export interface DevicePeer {
  deviceId: string;
  /** Serial number, lower-case hex. */
  serial: string;
}
export interface DeviceEnv {
  Variables: {
    /** The device that the client certificate names, and the certificate's serial number, lower-case hex. */
    device: { id: string; serial: string };
  };
}
export type DeviceRouter = Hono<DeviceEnv>;

/** Paths are relative to `/device/v1`. */
export function createDeviceRouter(): DeviceRouter {
  return new Hono<DeviceEnv>();
}

/** The JSON body, parsed. */
export async function deviceBody<S extends z.ZodType>(c: Context, schema: S): Promise<z.output<S>> {
  return parseJson(schema, await c.req.text(), 'body');
}
