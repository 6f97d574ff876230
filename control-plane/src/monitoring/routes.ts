// HTTP of alerts, silences, alert rules and notification channels.
import { AlertRule, AlertRuleSpec, ListedAlertRule, RuleId, RuleReplaceQuery } from '@edgeloop/shared/api/alert-rules';
import {
  AckRequest,
  Alert,
  AlertChain,
  AlertDetail,
  AlertQuery,
  ListedAlert,
  Silence,
  SilenceRequest,
  SilenceSpec,
} from '@edgeloop/shared/api/alerts';
import {
  ChannelSpec,
  ChannelTest,
  CreatedNotificationChannel,
  NotificationChannel,
} from '@edgeloop/shared/api/channels';
import { AcceptRequest, MonitoringReport } from '@edgeloop/shared/api/monitoring';
import { PageQuery, pageOf } from '@edgeloop/shared/api/paging';
import { parseJson } from '@edgeloop/shared/errors';
import { ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { decodeCursor, toPage } from '../http/paging.ts';
import { createRouter, describeRoute, jsonBody, mountRaw, pathParameter, type Router } from '../http/router.ts';
import type { Monitoring } from './monitoring.ts';

const params = z.object({ id: z.string().min(1).max(200) });
const alertsRead = { tag: 'alerts', role: 'viewer', status: 200 } as const;
const alertsWrite = { tag: 'alerts', role: 'operator', status: 200 } as const;
const created = { tag: 'alerts', role: 'operator', status: 201 } as const;

const routes = {
  alerts: describeRoute(
    { ...alertsRead, method: 'get', path: '/alerts', summary: 'Alerts, newest first', response: pageOf(ListedAlert) },
    { query: PageQuery.extend(AlertQuery.shape) },
  ),
  alert: describeRoute(
    {
      ...alertsRead,
      method: 'get',
      path: '/alerts/{id}',
      summary: 'An alert and its numbers over time',
      response: AlertDetail,
    },
    { params },
  ),
  chain: describeRoute(
    {
      ...alertsRead,
      ...{ method: 'get', path: '/alerts/{id}/chain', summary: 'What led to an alert, and what came of it' },
      response: AlertChain,
    },
    { params },
  ),
  acknowledge: describeRoute(
    {
      ...alertsWrite,
      ...{ method: 'post', path: '/alerts/{id}/ack', summary: 'Take care of an alert: it is not told again' },
      response: ListedAlert,
    },
    { params, body: { content: { 'application/json': { schema: AckRequest } } } },
  ),
  silence: describeRoute(
    {
      ...alertsWrite,
      ...{ method: 'post', path: '/alerts/{id}/silence', summary: 'No notifications about it for a while' },
      response: ListedAlert,
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
  silences: describeRoute(
    { ...alertsRead, method: 'get', path: '/silences', summary: 'Silences, newest first', response: pageOf(Silence) },
    { query: PageQuery },
  ),
  createSilence: describeRoute(
    {
      ...created,
      ...{ method: 'post', path: '/silences', summary: 'No notifications of alerts that match, for a while' },
      response: Silence,
    },
    { body: jsonBody(SilenceSpec) },
  ),
  expireSilence: describeRoute(
    { ...alertsWrite, method: 'post', path: '/silences/{id}/expire', summary: 'End a silence', response: Silence },
    { params },
  ),
  rules: describeRoute(
    { ...alertsRead, method: 'get', path: '/alert-rules', summary: 'Alert rules', response: pageOf(ListedAlertRule) },
    { query: PageQuery },
  ),
  createRule: describeRoute(
    { ...created, method: 'post', path: '/alert-rules', summary: 'Create an alert rule', response: AlertRule },
    { body: jsonBody(AlertRuleSpec) },
  ),
  replaceRule: describeRoute(
    { ...alertsWrite, method: 'put', path: '/alert-rules/{id}', summary: 'Change an alert rule', response: AlertRule },
    { params: z.object({ id: RuleId }), query: RuleReplaceQuery, body: jsonBody(AlertRuleSpec) },
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
      ...{ method: 'post', path: '/channels', summary: 'Add a channel; the secret that signs a webhook is shown once' },
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
      ...{ method: 'delete', path: '/channels/{id}', summary: 'Remove a channel that no rule uses' },
      response: NotificationChannel,
    },
    { params },
  ),
  testChannel: describeRoute(
    {
      ...alertsWrite,
      ...{ method: 'post', path: '/channels/{id}/test', summary: 'Send a test message now' },
      response: ChannelTest,
    },
    { params },
  ),
};

export function monitoringRoutes({
  alerts,
  rules,
  channels,
  silences,
  accept,
  report,
}: Pick<Monitoring, 'alerts' | 'rules' | 'channels' | 'silences' | 'accept' | 'report'>): Router {
  const router = createRouter();
  router.openapi(routes.alerts, async (c) => c.json(await alerts.list(c.req.valid('query')), 200));
  router.openapi(routes.alert, async (c) => c.json(await alerts.alert(c.req.valid('param').id), 200));
  router.openapi(routes.chain, async (c) => c.json(await alerts.chain(c.req.valid('param').id), 200));
  // A body is welcome and not needed, whatever its type is said to be.
  mountRaw(router, routes.acknowledge, async (c) => {
    const text = await c.req.text();
    const { note }: z.output<typeof AckRequest> = text === '' ? {} : parseJson(AckRequest, text, 'body');
    return c.json(await alerts.acknowledge(c.var.actor.name, pathParameter(c, 'id', params.shape.id), note), 200);
  });
  router.openapi(routes.silences, async (c) => c.json(await silences.list(c.req.valid('query')), 200));
  router.openapi(routes.createSilence, async (c) =>
    c.json(await silences.create(c.var.actor.name, c.req.valid('json')), 201),
  );
  router.openapi(routes.expireSilence, async (c) =>
    c.json(await silences.expire(c.var.actor.name, c.req.valid('param').id), 200),
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
    const listed = found.map(
      (rule): ListedAlertRule =>
        rule.spec.kind === 'metric' ? { ...rule, evaluation: rules.evaluationOf(rule.id) } : rule,
    );
    return c.json(
      toPage(listed, limit, ({ id }) => id),
      200,
    );
  });
  router.openapi(routes.createRule, async (c) =>
    c.json(await rules.create(c.var.actor.name, c.req.valid('json')), 201),
  );
  router.openapi(routes.replaceRule, async (c) =>
    c.json(
      await rules.replace(c.var.actor.name, c.req.valid('param').id, {
        spec: c.req.valid('json'),
        create: c.req.valid('query').create === 'true',
      }),
      200,
    ),
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
  router.openapi(routes.testChannel, async (c) => c.json(await channels.test(c.req.valid('param').id), 200));
  return router;
}
