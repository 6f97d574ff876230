// The OpenAPI file of kserve/open-inference-protocol says what requests and answers look like. Give its path
// (specification/protocol/open_inference_rest.yaml) as EDGELOOP_OPEN_INFERENCE_YAML; without it the test is skipped.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { onBothWays } from '../support/both-ways.ts';
import { identity } from '../support/onnx-models.ts';
import { type FolderServer, writeModel } from '../support/serving.ts';
import { post } from '../support/v2.ts';

const path = process.env.EDGELOOP_OPEN_INFERENCE_YAML;
const Document = z.object({ components: z.object({ schemas: z.record(z.string(), z.looseObject({})) }) });

/** Validator of a schema of the file. */
function schema(name: string): z.ZodType {
  const { components } = Document.parse(parse(readFileSync(path ?? '', 'utf8')));
  const text = JSON.stringify(components.schemas).replaceAll('#/components/schemas/', '#/$defs/');
  return z.fromJSONSchema({ $ref: `#/$defs/${name}`, $defs: JSON.parse(text) });
}

describe.skipIf(path === undefined)(
  `the OpenAPI of the protocol${path === undefined ? ' (skipped: set EDGELOOP_OPEN_INFERENCE_YAML)' : ''}`,
  () => {
    let server: FolderServer;
    const begin = (started: FolderServer): void => {
      server = started;
    };
    const write = async (folder: string) => {
      await writeModel(folder, 'echo', identity('float', ['n', 2]));
      await writeModel(folder, 'texts', identity('string', ['n']));
    };

    const get = async (at: string) => {
      const answer = await fetch(`${server.url}${at}`);
      return { status: answer.status, body: await answer.json() };
    };
    const infer = async (model: string, body: unknown) => {
      const answer = await post(`${server.url}/v2/models/${model}/versions/1/infer`, JSON.stringify(body));
      return { status: answer.status, body: JSON.parse(answer.body.toString('utf8')) };
    };
    const floats = {
      name: 'x',
      datatype: 'FP32',
      shape: [2, 2],
      data: [
        [1, 2],
        [3, 4.5],
      ],
    };

    onBothWays({ write, begin }, () => {
      test('health', async () => {
        for (const at of ['/v2/health/live', '/v2/health/ready', '/v2/models/echo/versions/1/ready'])
          expect((await get(at)).status).toBe(200);
      });

      test('metadata of the server and of a model', async () => {
        for (const at of ['/v2', '/v2/']) schema('metadata_server_response').parse((await get(at)).body);
        schema('metadata_model_response').parse((await get('/v2/models/echo/versions/1')).body);
        schema('metadata_model_response').parse((await get('/v2/models/echo')).body);
        const unknown = await get('/v2/models/nobody/versions/1');
        expect(unknown.status).toBeGreaterThanOrEqual(400);
        schema('metadata_model_error_response').parse(unknown.body);
      });

      test.each([
        ['echo', { id: '42', inputs: [floats], outputs: [{ name: 'y' }] }],
        ['echo', { inputs: [{ ...floats, data: [1, 2, 3, 4] }], parameters: { priority: 1 } }],
        ['texts', { inputs: [{ name: 'x', datatype: 'BYTES', shape: [2], data: ['a', 'b'] }] }],
      ])('inference on %s', async (model, request) => {
        schema('inference_request').parse(request);
        const { status, body } = await infer(model, request);
        expect(status).toBe(200);
        schema('inference_response').parse(body);
      });

      test('an inference that fails', async () => {
        const { status, body } = await infer('echo', { inputs: [{ ...floats, shape: [3, 2] }] });
        expect(status).toBe(400);
        schema('inference_error_response').parse(body);
        expect(body).toHaveProperty('error');
      });

      test('the validator is not blind', async () => {
        const { body } = await infer('echo', { inputs: [floats] });
        expect(schema('inference_response').safeParse({ ...body, model_name: 1 }).success).toBe(false);
        expect(schema('inference_response').safeParse({ ...body, outputs: [{ name: 'y' }] }).success).toBe(false);
      });
    });
  },
);
