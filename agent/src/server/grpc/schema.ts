// The messages of the Open Inference Protocol's gRPC service, with Triton's extensions, as a protobufjs descriptor. Field names
// are kept as they are in JSON, so that what HTTP answers is what gRPC encodes. Numbers are those of KServe's and Triton's
// grpc_service.proto and model_config.proto, as far as we read or write the fields.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import protobuf from 'protobufjs/light.js';

const field = (id: number, type: string) => ({ id, type });
const list = (id: number, type: string) => ({ id, type, rule: 'repeated' as const });
const map = (id: number, type: string) => ({ id, keyType: 'string', type });
const choice = (...oneof: string[]) => ({ parameter_choice: { oneof } });
const empty = { fields: {} };
const named = { fields: { name: field(1, 'string'), version: field(2, 'string') } };

const inferMessages = {
  InferParameter: {
    oneofs: choice('bool_param', 'int64_param', 'string_param', 'double_param', 'uint64_param'),
    fields: {
      bool_param: field(1, 'bool'),
      int64_param: field(2, 'int64'),
      string_param: field(3, 'string'),
      double_param: field(4, 'double'),
      uint64_param: field(5, 'uint64'),
    },
  },
  InferTensorContents: {
    fields: {
      bool_contents: list(1, 'bool'),
      int_contents: list(2, 'int32'),
      int64_contents: list(3, 'int64'),
      uint_contents: list(4, 'uint32'),
      uint64_contents: list(5, 'uint64'),
      fp32_contents: list(6, 'float'),
      fp64_contents: list(7, 'double'),
      bytes_contents: list(8, 'bytes'),
    },
  },
  InferTensor: {
    fields: {
      name: field(1, 'string'),
      datatype: field(2, 'string'),
      shape: list(3, 'int64'),
      parameters: map(4, 'InferParameter'),
      contents: field(5, 'InferTensorContents'),
    },
  },
  InferRequestedOutputTensor: { fields: { name: field(1, 'string'), parameters: map(2, 'InferParameter') } },
  ModelInferRequest: {
    fields: {
      model_name: field(1, 'string'),
      model_version: field(2, 'string'),
      id: field(3, 'string'),
      parameters: map(4, 'InferParameter'),
      inputs: list(5, 'InferTensor'),
      outputs: list(6, 'InferRequestedOutputTensor'),
      raw_input_contents: list(7, 'bytes'),
    },
  },
  ModelInferResponse: {
    fields: {
      model_name: field(1, 'string'),
      model_version: field(2, 'string'),
      id: field(3, 'string'),
      parameters: map(4, 'InferParameter'),
      outputs: list(5, 'InferTensor'),
      raw_output_contents: list(6, 'bytes'),
    },
  },
  ModelStreamInferResponse: {
    fields: { error_message: field(1, 'string'), infer_response: field(2, 'ModelInferResponse') },
  },
};

const serverMessages = {
  Empty: empty,
  ServerLiveResponse: { fields: { live: field(1, 'bool') } },
  ReadyResponse: { fields: { ready: field(1, 'bool') } },
  ServerMetadataResponse: {
    fields: { name: field(1, 'string'), version: field(2, 'string'), extensions: list(3, 'string') },
  },
  NamedRequest: named,
  TensorMetadata: { fields: { name: field(1, 'string'), datatype: field(2, 'string'), shape: list(3, 'int64') } },
  ModelMetadataResponse: {
    fields: {
      name: field(1, 'string'),
      versions: list(2, 'string'),
      platform: field(3, 'string'),
      inputs: list(4, 'TensorMetadata'),
      outputs: list(5, 'TensorMetadata'),
    },
  },
};

const statisticsMessages = {
  StatisticDuration: { fields: { count: field(1, 'uint64'), ns: field(2, 'uint64') } },
  InferStatistics: {
    fields: {
      success: field(1, 'StatisticDuration'),
      fail: field(2, 'StatisticDuration'),
      queue: field(3, 'StatisticDuration'),
      compute_input: field(4, 'StatisticDuration'),
      compute_infer: field(5, 'StatisticDuration'),
      compute_output: field(6, 'StatisticDuration'),
      cache_hit: field(7, 'StatisticDuration'),
      cache_miss: field(8, 'StatisticDuration'),
    },
  },
  InferBatchStatistics: {
    fields: {
      batch_size: field(1, 'uint64'),
      compute_input: field(2, 'StatisticDuration'),
      compute_infer: field(3, 'StatisticDuration'),
      compute_output: field(4, 'StatisticDuration'),
    },
  },
  ModelStatistics: {
    fields: {
      name: field(1, 'string'),
      version: field(2, 'string'),
      last_inference: field(3, 'uint64'),
      inference_count: field(4, 'uint64'),
      execution_count: field(5, 'uint64'),
      inference_stats: field(6, 'InferStatistics'),
      batch_stats: list(7, 'InferBatchStatistics'),
    },
  },
  ModelStatisticsResponse: { fields: { model_stats: list(1, 'ModelStatistics') } },
};

const configMessages = {
  DataType: {
    values: Object.fromEntries(
      'INVALID BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 STRING BF16'
        .split(' ')
        .map((name, place) => [`TYPE_${name}`, place]),
    ),
  },
  InstanceKind: { values: { KIND_AUTO: 0, KIND_GPU: 1, KIND_CPU: 2, KIND_MODEL: 3 } },
  ModelInstanceGroup: {
    fields: {
      name: field(1, 'string'),
      count: field(2, 'int32'),
      gpus: list(3, 'int32'),
      kind: field(4, 'InstanceKind'),
      profile: list(5, 'string'),
    },
  },
  ModelInput: { fields: { name: field(1, 'string'), data_type: field(2, 'DataType'), dims: list(4, 'int64') } },
  ModelOutput: {
    fields: {
      name: field(1, 'string'),
      data_type: field(2, 'DataType'),
      dims: list(3, 'int64'),
      label_filename: field(4, 'string'),
    },
  },
  Specific: { fields: { versions: list(1, 'int64') } },
  ModelVersionPolicy: { fields: { specific: field(3, 'Specific') } },
  ModelDynamicBatching: {
    fields: { preferred_batch_size: list(1, 'int32'), max_queue_delay_microseconds: field(2, 'uint64') },
  },
  ControlKind: {
    values: {
      CONTROL_SEQUENCE_START: 0,
      CONTROL_SEQUENCE_READY: 1,
      CONTROL_SEQUENCE_END: 2,
      CONTROL_SEQUENCE_CORRID: 3,
    },
  },
  Control: {
    fields: {
      kind: field(1, 'ControlKind'),
      int32_false_true: list(2, 'int32'),
      fp32_false_true: list(3, 'float'),
      data_type: field(4, 'DataType'),
      bool_false_true: list(5, 'bool'),
    },
  },
  ControlInput: { fields: { name: field(1, 'string'), control: list(2, 'Control') } },
  SequenceState: {
    fields: {
      input_name: field(1, 'string'),
      output_name: field(2, 'string'),
      data_type: field(3, 'DataType'),
      dims: list(4, 'int64'),
    },
  },
  ModelSequenceBatching: {
    fields: {
      max_sequence_idle_microseconds: field(1, 'uint64'),
      control_input: list(2, 'ControlInput'),
      state: list(5, 'SequenceState'),
    },
  },
  EnsembleStep: {
    fields: {
      model_name: field(1, 'string'),
      model_version: field(2, 'int64'),
      input_map: map(3, 'string'),
      output_map: map(4, 'string'),
    },
  },
  ModelEnsembling: { fields: { step: list(1, 'EnsembleStep') } },
  ModelParameter: { fields: { string_value: field(1, 'string') } },
  ModelResponseCache: { fields: { enable: field(1, 'bool') } },
  ModelConfig: {
    fields: {
      name: field(1, 'string'),
      platform: field(2, 'string'),
      version_policy: field(3, 'ModelVersionPolicy'),
      max_batch_size: field(4, 'int32'),
      input: list(5, 'ModelInput'),
      output: list(6, 'ModelOutput'),
      instance_group: list(7, 'ModelInstanceGroup'),
      default_model_filename: field(8, 'string'),
      dynamic_batching: field(11, 'ModelDynamicBatching'),
      sequence_batching: field(13, 'ModelSequenceBatching'),
      parameters: map(14, 'ModelParameter'),
      ensemble_scheduling: field(15, 'ModelEnsembling'),
      backend: field(17, 'string'),
      response_cache: field(24, 'ModelResponseCache'),
    },
  },
  ModelConfigResponse: { fields: { config: field(1, 'ModelConfig') } },
};

const repositoryMessages = {
  ModelRepositoryParameter: {
    oneofs: choice('bool_param', 'int64_param', 'string_param', 'bytes_param'),
    fields: {
      bool_param: field(1, 'bool'),
      int64_param: field(2, 'int64'),
      string_param: field(3, 'string'),
      bytes_param: field(4, 'bytes'),
    },
  },
  RepositoryIndexRequest: { fields: { repository_name: field(1, 'string'), ready: field(2, 'bool') } },
  ModelIndex: {
    fields: {
      name: field(1, 'string'),
      version: field(2, 'string'),
      state: field(3, 'string'),
      reason: field(4, 'string'),
    },
  },
  RepositoryIndexResponse: { fields: { models: list(1, 'ModelIndex') } },
  RepositoryModelRequest: {
    fields: {
      repository_name: field(1, 'string'),
      model_name: field(2, 'string'),
      parameters: map(3, 'ModelRepositoryParameter'),
    },
  },
};

const settingMessages = {
  TraceValue: { fields: { value: list(1, 'string') } },
  TraceSettingRequest: { fields: { settings: map(1, 'TraceValue'), model_name: field(2, 'string') } },
  TraceSettingResponse: { fields: { settings: map(1, 'TraceValue') } },
  LogValue: {
    oneofs: choice('bool_param', 'uint32_param', 'string_param'),
    fields: { bool_param: field(1, 'bool'), uint32_param: field(2, 'uint32'), string_param: field(3, 'string') },
  },
  LogSettings: { fields: { settings: map(1, 'LogValue') } },
};

const healthMessages = {
  HealthCheckRequest: { fields: { service: field(1, 'string') } },
  HealthStatus: { values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2 } },
  HealthCheckResponse: { fields: { status: field(1, 'HealthStatus') } },
};

const messages = {
  ...inferMessages,
  ...serverMessages,
  ...statisticsMessages,
  ...configMessages,
  ...repositoryMessages,
  ...settingMessages,
  ...healthMessages,
};
const root = protobuf.Root.fromJSON({ nested: messages });

export type MessageName = keyof typeof messages;

const types = new Map<MessageName, protobuf.Type>();

function typeOf(name: MessageName): protobuf.Type {
  const known = types.get(name);
  if (known) return known;
  const type = root.lookupType(name);
  types.set(name, type);
  return type;
}

/** The message in JavaScript's terms: long integers as bigint, bytes as views, only what was sent. Throws `invalid_request`. */
export function decodeMessage(name: MessageName, bytes: Uint8Array): unknown {
  const type = typeOf(name);
  try {
    return type.toObject(type.decode(bytes), { longs: BigInt });
  } catch (cause) {
    throw new AppError('invalid_request', `the request is no valid ${name}: ${messageOf(cause)}`, { cause });
  }
}

/** Takes names of enums and what JSON has besides; unknown fields are left out. */
export function encodeMessage(name: MessageName, value: object): Buffer {
  const type = typeOf(name);
  return bufferOf(type.encode(type.fromObject({ ...value })).finish());
}

/** The same for what is already as protobufjs has it: nothing is copied first. */
export function encodeExact(name: MessageName, value: object): Buffer {
  return bufferOf(typeOf(name).encode(value).finish());
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
