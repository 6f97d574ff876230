// HTTP of alerts, alert rules and notification channels.
import {
  Alert,
  AlertQuery,
  AlertRule,
  AlertRuleSpec,
  ChannelSpec,
  CreatedNotificationChannel,
  NotificationChannel,
  SilenceRequest,
} from '@edgeloop/shared/api/alerts';
import { AcceptRequest, MonitoringReport } from '@edgeloop/shared/api/monitoring';
import { PageQuery, pageOf } from '@edgeloop/shared/api/paging';
import { ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { decodeCursor, toPage } from '../http/paging.ts';
import { createRouter, describeRoute, jsonBody, type Router } from '../http/router.ts';
import type { Monitoring } from './monitoring.ts';

const params = z.object({ id: z.string().min(1).max(200) });
const alertsRead = { tag: 'alerts', role: 'viewer', status: 200 } as const;
const alertsWrite = { tag: 'alerts', role: 'operator', status: 200 } as const;
const created = { tag: 'alerts', role: 'operator', status: 201 } as const;

const routes = {
  alerts: describeRoute(
    { ...alertsRead, method: 'get', path: '/alerts', summary: 'Alerts, newest first', response: pageOf(Alert) },
    { query: PageQuery.extend(AlertQuery.shape) },
  ),
  acknowledge: describeRoute(
    { ...alertsWrite, method: 'post', path: '/alerts/{id}/ack', summary: 'Take care of an alert', response: Alert },
    { params },
  ),
  silence: describeRoute(
    {
      ...alertsWrite,
      ...{ method: 'post', path: '/alerts/{id}/silence', summary: 'No notifications about it for a while' },
      response: Alert,
    },
    { params, body: jsonBody(SilenceRequest) },
  ),
  accept: describeRoute(
    {
      ...alertsWrite,
      ...{
        method: 'post',
        path: '/alerts/{id}/accept',
        summary: 'What moved is the new normal: freeze it as the reference',
      },
      response: Alert,
    },
    { params, body: jsonBody(AcceptRequest) },
  ),
  report: describeRoute(
    {
      ...alertsRead,
      ...{ method: 'get', path: '/models/{name}/versions/{version}/monitoring' },
      summary: 'What is watched of a version, against what, and what could be seen',
      response: MonitoringReport,
    },
    { params: z.object({ name: ModelName, version: z.coerce.number().pipe(ModelVersion) }) },
  ),
  rules: describeRoute(
    { ...alertsRead, method: 'get', path: '/alert-rules', summary: 'Alert rules', response: pageOf(AlertRule) },
    { query: PageQuery },
  ),
  createRule: describeRoute(
    { ...created, method: 'post', path: '/alert-rules', summary: 'Create an alert rule', response: AlertRule },
    { body: jsonBody(AlertRuleSpec) },
  ),
  replaceRule: describeRoute(
    { ...alertsWrite, method: 'put', path: '/alert-rules/{id}', summary: 'Change an alert rule', response: AlertRule },
    { params, body: jsonBody(AlertRuleSpec) },
  ),
  deleteRule: describeRoute(
    {
      ...alertsWrite,
      ...{ method: 'delete', path: '/alert-rules/{id}', summary: 'Delete an alert rule; its open alerts resolve' },
      response: AlertRule,
    },
    { params },
  ),
  channels: describeRoute(
    {
      ...alertsWrite,
      ...{ method: 'get', path: '/channels', summary: 'Where alerts are sent' },
      response: pageOf(NotificationChannel),
    },
    { query: PageQuery },
  ),
  createChannel: describeRoute(
    {
      ...created,
      ...{ method: 'post', path: '/channels', summary: 'Add a webhook; the secret that signs is shown once' },
      response: CreatedNotificationChannel,
    },
    { body: jsonBody(ChannelSpec) },
  ),
  rotateChannel: describeRoute(
    {
      ...alertsWrite,
      ...{ method: 'post', path: '/channels/{id}/rotate' },
      summary: 'Sign with a new secret, shown once; the former one signs too for a day',
      response: CreatedNotificationChannel,
    },
    { params },
  ),
  deleteChannel: describeRoute(
    {
      ...alertsWrite,
      ...{ method: 'delete', path: '/channels/{id}', summary: 'Remove a webhook that no rule uses' },
      response: NotificationChannel,
    },
    { params },
  ),
};

export function monitoringRoutes({
  alerts,
  rules,
  channels,
  accept,
  report,
}: Pick<Monitoring, 'alerts' | 'rules' | 'channels' | 'accept' | 'report'>): Router {
  const router = createRouter();
  router.openapi(routes.alerts, async (c) => c.json(await alerts.list(c.req.valid('query')), 200));
  router.openapi(routes.acknowledge, async (c) =>
    c.json(await alerts.acknowledge(c.var.actor.name, c.req.valid('param').id), 200),
  );
  router.openapi(routes.silence, async (c) =>
    c.json(await alerts.silence(c.var.actor.name, c.req.valid('param').id, c.req.valid('json').seconds), 200),
  );
  router.openapi(routes.accept, async (c) =>
    c.json(await accept(c.var.actor.name, c.req.valid('param').id, c.req.valid('json').why), 200),
  );
  router.openapi(routes.report, async (c) => {
    const { name, version } = c.req.valid('param');
    return c.json(await report(name, version), 200);
  });
  router.openapi(routes.rules, async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const found = await rules.page({ after: decodeCursor(z.string(), cursor), limit: limit + 1 });
    return c.json(
      toPage(found, limit, ({ id }) => id),
      200,
    );
  });
  router.openapi(routes.createRule, async (c) =>
    c.json(await rules.create(c.var.actor.name, c.req.valid('json')), 201),
  );
  router.openapi(routes.replaceRule, async (c) =>
    c.json(await rules.replace(c.var.actor.name, c.req.valid('param').id, c.req.valid('json')), 200),
  );
  router.openapi(routes.deleteRule, async (c) =>
    c.json(await rules.remove(c.var.actor.name, c.req.valid('param').id), 200),
  );
  router.openapi(routes.channels, async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const found = await channels.page({ after: decodeCursor(z.string(), cursor), limit: limit + 1 });
    return c.json(
      toPage(found, limit, ({ id }) => id),
      200,
    );
  });
  router.openapi(routes.createChannel, async (c) =>
    c.json(await channels.create(c.var.actor.name, c.req.valid('json')), 201),
  );
  router.openapi(routes.rotateChannel, async (c) =>
    c.json(await channels.rotate(c.var.actor.name, c.req.valid('param').id), 200),
  );
  router.openapi(routes.deleteChannel, async (c) =>
    c.json(await channels.remove(c.var.actor.name, c.req.valid('param').id), 200),
  );
  return router;
}
