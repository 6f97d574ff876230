// Samples, labels and datasets over the API.

import { Readable } from 'node:stream';
import {
  Dataset,
  DatasetBuild,
  DatasetCreate,
  DatasetImport,
  DatasetVersion,
  LabelsCreate,
  LabelsResult,
  Sample,
  SampleQuery,
  Split,
} from '@edgeloop/shared/api/data';
import { PageQuery, pageOf } from '@edgeloop/shared/api/paging';
import { AppError, parse, parseJson } from '@edgeloop/shared/errors';
import { ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { receiveForm } from '../http/multipart.ts';
import {
  createRouter,
  describeRawRoute,
  describeRoute,
  jsonBody,
  mountRaw,
  pathParameter,
  type Router,
} from '../http/router.ts';
import type { Data } from './data.ts';

const tag = 'data';
const Name = z.object({ name: ModelName });
const NameAndVersion = Name.extend({ version: z.coerce.number().pipe(ModelVersion) });

const maxOptionsBytes = 64 * 1024;

export interface DataRoutesDeps {
  data: Data;
  scratchDir: string;
  maxImportBytes: number;
}

export function dataRoutes({ data, scratchDir, maxImportBytes }: DataRoutesDeps): Router {
  const router = createRouter();
  sampleRoutes(router, data);
  datasetRoutes(router, data);

  const create = describeRoute(
    {
      method: 'post',
      path: '/datasets/{name}/versions',
      summary: 'Build a version from the field (JSON), or import a table (multipart: file, options)',
      tag,
      role: 'operator',
      status: 201,
      response: DatasetVersion,
    },
    {
      params: Name,
      body: {
        required: true,
        content: {
          'application/json': { schema: DatasetBuild },
          'multipart/form-data': {
            schema: z.object({
              file: z.string().meta({ format: 'binary' }),
              options: z.string().meta({ description: 'DatasetImport as JSON' }),
            }),
          },
        },
      },
    },
  );
  mountRaw(router, create, async (c) => {
    const name = pathParameter(c, 'name', ModelName);
    const actor = c.var.actor.name;
    if (!c.req.header('content-type')?.startsWith('multipart/form-data')) {
      return c.json(await data.build(actor, name, parseJson(DatasetBuild, await c.req.text(), 'body')), 201);
    }
    const form = await receiveForm(c.req.raw, {
      scratchDir,
      files: { file: maxImportBytes },
      texts: { options: maxOptionsBytes },
    });
    try {
      const file = form.files.file;
      if (file === undefined)
        throw new AppError('invalid_request', 'file: the form must have a CSV or Parquet file of this name');
      const options = parseJson(DatasetImport, form.texts.options ?? '{}', 'options');
      return c.json(await data.importTable(actor, name, { path: file.path, fileDigest: file.digest, options }), 201);
    } finally {
      await form.discard();
    }
  });
  return router;
}

function sampleRoutes(router: Router, data: Data): void {
  const list = describeRoute(
    {
      method: 'get',
      path: '/samples',
      summary: 'Captured samples, newest first',
      tag,
      role: 'viewer',
      status: 200,
      response: pageOf(Sample),
    },
    { query: PageQuery.extend(SampleQuery.shape) },
  );
  router.openapi(list, async (c) => c.json(await data.samples(c.req.valid('query')), 200));

  const label = describeRoute(
    {
      method: 'post',
      path: '/labels',
      summary: 'Truths of earlier predictions, by inference id',
      tag,
      role: 'operator',
      status: 200,
      response: LabelsResult,
    },
    { body: jsonBody(LabelsCreate) },
  );
  router.openapi(label, async (c) => c.json(await data.label(c.var.actor.name, c.req.valid('json')), 200));
}

function datasetRoutes(router: Router, data: Data): void {
  const list = describeRoute(
    {
      method: 'get',
      path: '/datasets',
      summary: 'Datasets with their versions',
      tag,
      role: 'viewer',
      status: 200,
      response: pageOf(Dataset),
    },
    { query: PageQuery },
  );
  router.openapi(list, async (c) => c.json(await data.datasets(c.req.valid('query')), 200));

  const create = describeRoute(
    {
      method: 'post',
      path: '/datasets',
      summary: 'Create a dataset without versions',
      tag,
      role: 'operator',
      status: 201,
      response: Dataset,
    },
    { body: jsonBody(DatasetCreate) },
  );
  router.openapi(create, async (c) => c.json(await data.createDataset(c.var.actor.name, c.req.valid('json')), 201));

  const show = describeRoute(
    {
      method: 'get',
      path: '/datasets/{name}/versions/{version}',
      summary: 'One version',
      tag,
      role: 'viewer',
      status: 200,
      response: DatasetVersion,
    },
    { params: NameAndVersion },
  );
  router.openapi(show, async (c) => {
    const { name, version } = c.req.valid('param');
    return c.json(await data.version(name, version), 200);
  });

  const exportSplit = describeRawRoute(
    {
      method: 'get',
      path: '/datasets/{name}/versions/{version}/export',
      summary: 'One split as Parquet',
      tag,
      role: 'viewer',
      status: 200,
      answers: { 'application/vnd.apache.parquet': z.unknown() },
    },
    { params: NameAndVersion, query: z.object({ split: Split.default('train') }) },
  );
  mountRaw(router, exportSplit, async (c) => {
    const version = pathParameter(c, 'version', NameAndVersion.shape.version);
    const split = parse(Split.default('train'), c.req.query('split'), 'split');
    const { stream, sizeBytes } = await data.export(pathParameter(c, 'name', ModelName), version, split);
    const headers = { 'content-type': 'application/vnd.apache.parquet', 'content-length': String(sizeBytes) };
    return new Response(Readable.toWeb(stream) as ReadableStream, { headers });
  });
}
