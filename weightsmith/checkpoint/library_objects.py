"""What DeepSpeed, Megatron and MindSpeed pickle beside the weights: settings and states, which do nothing."""

from __future__ import annotations

LIBRARY_OBJECTS = frozenset(
    {
        "_io.BytesIO",
        "signal.Signals",
        *(f"deepspeed.runtime.fp16.loss_scaler.{name}" for name in ("LossScaler", "DynamicLossScaler")),
        "deepspeed.runtime.zero.config.ZeroStageEnum",
        "deepspeed.runtime.zero.config.DeepSpeedZeroConfig",
        "deepspeed.utils.tensor_fragment.fragment_address",
        "deepspeed.utils.tensor_fragment.tensor_fragment",
        "megatron.core.enums.ModelType",
        "megatron.model.enums.ModelType",
        "megatron.core.enums.Fp8Recipe",
        "megatron.core.transformer.enums.AttnBackend",
        "megatron.core.transformer.enums.AttnMaskType",
        "megatron.core.transformer.enums.CudaGraphScope",
        "megatron.core.transformer.enums.LayerType",
        "megatron.core.transformer.pipeline_parallel_layer_layout.PipelineParallelLayerLayout",
        *(
            f"megatron.core.rerun_state_machine.{name}"
            for name in ("RerunMode", "RerunState", "RerunDiagnostic", "RerunErrorInjector")
        ),
        "megatron.core.optimizer.optimizer_config.OptimizerConfig",
    }
)
