"""Makes onnxruntime's dynamically quantised int8 models of an ONNX file: quantize.py IN OUT_U8 OUT_S8."""

import sys

from onnxruntime.quantization import QuantType, quantize_dynamic

source, unsigned, signed = sys.argv[1:]
quantize_dynamic(source, unsigned, weight_type=QuantType.QUInt8)
quantize_dynamic(source, signed, weight_type=QuantType.QInt8)
