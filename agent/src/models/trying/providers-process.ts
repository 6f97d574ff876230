// The process that says which execution providers ONNX Runtime has here.
import { answerBounded } from '@edgeloop/shared/node/bounded-process';
import { listSupportedBackends } from 'onnxruntime-node';

answerBounded(async () => listSupportedBackends().map(({ name }) => name));
