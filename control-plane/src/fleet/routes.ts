// Routes of devices, for operators and for the devices themselves.
import {
  Device,
  DevicePatch,
  DeviceQuery,
  DeviceResolution,
  DevicesResolution,
  ResolvedDevices,
} from '@edgeloop/shared/api/devices';
import { PageQuery, pageOf } from '@edgeloop/shared/api/paging';
import { DeviceId } from '@edgeloop/shared/identifiers';
import { EnrolRequest, RenewRequest } from '@edgeloop/shared/messages';
import { parseSelector } from '@edgeloop/shared/selector';
import { z } from 'zod';
import { createDeviceRouter, type DeviceRouter, deviceBody } from '../http/device-router.ts';
import { createRouter, describeRoute, jsonBody, type Router } from '../http/router.ts';
import type { Enrolment } from './enrolment.ts';
import type { Fleet } from './fleet.ts';

const Id = z.object({ id: DeviceId });
const tag = 'Devices';

const routes = {
  list: describeRoute(
    {
      method: 'get',
      path: '/devices',
      summary: 'List devices',
      tag,
      role: 'viewer',
      status: 200,
      response: pageOf(Device),
    },
    { query: PageQuery.extend(DeviceQuery.shape) },
  ),
  show: describeRoute(
    { method: 'get', path: '/devices/{id}', summary: 'One device', tag, role: 'viewer', status: 200, response: Device },
    { params: Id },
  ),
  relabel: describeRoute(
    {
      method: 'patch',
      path: '/devices/{id}',
      summary: 'Replace the labels of a device',
      tag,
      role: 'operator',
      status: 200,
      response: Device,
    },
    { params: Id, body: jsonBody(DevicePatch) },
  ),
  remove: describeRoute(
    {
      method: 'delete',
      path: '/devices/{id}',
      summary:
        'Remove a device: its certificate is refused from now on, its id and key are barred until it is readmitted',
      tag,
      role: 'admin',
      status: 200,
      response: Device,
    },
    { params: Id },
  ),
  resolveMany: describeRoute(
    {
      ...{ method: 'post', path: '/devices/resolve', tag, role: 'operator', status: 200, response: ResolvedDevices },
      summary: 'Decide what becomes of the devices of a selector that are ahead of this server',
    },
    { body: jsonBody(DevicesResolution) },
  ),
  resolve: describeRoute(
    {
      ...{ method: 'post', path: '/devices/{id}/resolve', tag, role: 'operator', status: 200, response: Device },
      summary: 'Decide what becomes of a device that is ahead of this server: it follows, or keeps what it runs',
    },
    { params: Id, body: jsonBody(DeviceResolution) },
  ),
  readmit: describeRoute(
    {
      method: 'post',
      path: '/devices/{id}/readmit',
      summary: 'Let a removed device join again, with a join token',
      tag,
      role: 'admin',
      status: 200,
      response: Device,
    },
    { params: Id },
  ),
};

export function fleetRoutes(fleet: Fleet, enrolment: Enrolment): Router {
  const router = createRouter();
  router.openapi(routes.list, async (c) => {
    const { selector, removed, ...query } = c.req.valid('query');
    const asked = { ...query, removed: removed === 'true', selector: parseSelector(selector ?? '') };
    return c.json(await fleet.list(asked), 200);
  });
  router.openapi(routes.show, async (c) => c.json(await fleet.device(c.req.valid('param').id), 200));
  router.openapi(routes.relabel, async (c) => {
    const { id } = c.req.valid('param');
    return c.json(await fleet.relabel(c.var.actor.name, id, c.req.valid('json').labels), 200);
  });
  router.openapi(routes.remove, async (c) => {
    const { id } = c.req.valid('param');
    await enrolment.remove(c.var.actor.name, id);
    return c.json(await fleet.device(id), 200);
  });
  router.openapi(routes.resolveMany, async (c) => {
    const { selector, decision } = c.req.valid('json');
    const asked = { selector: parseSelector(selector) };
    return c.json({ resolved: await fleet.resolve(c.var.actor.name, asked, decision) }, 200);
  });
  router.openapi(routes.resolve, async (c) => {
    const { id } = c.req.valid('param');
    await fleet.resolve(c.var.actor.name, { id }, c.req.valid('json').decision);
    return c.json(await fleet.device(id), 200);
  });
  router.openapi(routes.readmit, async (c) => {
    const { id } = c.req.valid('param');
    await enrolment.readmit(c.var.actor.name, id);
    return c.json(await fleet.device(id), 200);
  });
  return router;
}

/** Renewal, for devices that are let in. */
export function fleetDeviceRoutes(enrolment: Enrolment): DeviceRouter {
  const router = createDeviceRouter();
  router.post('/renew', async (c) => {
    const { csr } = await deviceBody(c, RenewRequest);
    return c.json(await enrolment.renew({ deviceId: c.var.device.id, serial: c.var.device.serial }, csr));
  });
  return router;
}

/** What a device asks before it has a certificate. */
export function enrolmentDeviceRoutes(enrolment: Enrolment): DeviceRouter {
  const router = createDeviceRouter();
  router.post('/enroll', async (c) => {
    const request = await deviceBody(c, EnrolRequest);
    return c.json(await enrolment.enrol(request));
  });
  return router;
}
