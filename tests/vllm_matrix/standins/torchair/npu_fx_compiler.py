"""Stand-in for torchair.npu_fx_compiler."""


def _unpack_meta_list(values: object) -> object:
    return values


class _NpuGraphConverter:
    pass
