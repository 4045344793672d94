"""Makes the modules ``com.yahoo.ml.caffe.…``, when they are imported and nothing else is installed by their names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Dict, Optional, Sequence

from ..nets.given import with_our_fields

__all__ = ["install"]

_ROOT = "com.yahoo.ml.caffe"
_PACKAGES = ("com", "com.yahoo", "com.yahoo.ml", _ROOT, f"{_ROOT}.tools")
_NET_SPEC = "caffe.net_spec"
_CAPTIONS = "compat.captions"
#: What is in each module: the names, and the module of ours that has them.
_MODULES: Dict[str, Dict[str, str]] = {
    "CaffeOnSpark": {"CaffeOnSpark": "compat.classes"},
    "Config": {"Config": "compat.classes"},
    "Conversions": {"Conversions": _CAPTIONS},
    "DataSource": {"DataSource": "api.sources"},
    "DisplayUtils": {
        **dict.fromkeys(("get_np_array", "image_tag", "show_df", "show_network"), "compat.display"),
        "show_captions": _CAPTIONS,
    },
    "RegisterContext": dict.fromkeys(("registerContext", "registerSQLContext"), "compat.classes"),
    "Vocab": {"Vocab": _CAPTIONS},
    "tools.DFConversions": dict.fromkeys(("DFConversions", "get_image", "show_captions"), _CAPTIONS),
    "tools.Vocab": {"Vocab": _CAPTIONS},
}
#: Modules that brought values to Scala's classes and back.
_NOT_NEEDED = ("ConversionUtil", "GeneralUtil", "ReflectionUtil")


class _Maker(Loader):
    """Fills a module with what has its names here."""

    def exec_module(self, module: ModuleType) -> None:
        names = _MODULES.get(module.__name__[len(_ROOT) + 1 :], {})
        for name, place in names.items():
            setattr(module, name, getattr(importlib.import_module(f"caffeonspark.{place}"), name))
        module.__dict__["__all__"] = list(names)


class _Extender(Loader):
    """Loads ``caffe.net_spec`` as another loader does, and lets it make layers with CaffeOnSpark's fields."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:
        made: Optional[ModuleType] = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _extend(module)


class _Finder(MetaPathFinder):
    """The last one that is asked for the old names, and the first for ``caffe.net_spec``."""

    def __init__(self, for_net_spec: bool) -> None:
        self._for_net_spec = for_net_spec

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        if self._for_net_spec:
            return self._net_spec(path, target) if fullname == _NET_SPEC else None
        if fullname in _PACKAGES:
            return importlib.util.spec_from_loader(fullname, _Maker(), is_package=True)
        if not fullname.startswith(_ROOT + "."):
            return None
        name = fullname[len(_ROOT) + 1 :]
        if name in _MODULES:
            return importlib.util.spec_from_loader(fullname, _Maker())
        if name in _NOT_NEEDED:
            raise ModuleNotFoundError(
                f"caffeonspark has nothing for {fullname}: it turned values into objects of Scala's and back, and "
                "there is no Scala here: what these programs get are Python's own",
                name=fullname,
            )
        raise ModuleNotFoundError(
            f"caffeonspark has nothing for {fullname}: there are {', '.join(_MODULES)}", name=fullname
        )
        return None

    def _net_spec(self, path: Optional[Sequence[str]], target: Optional[ModuleType]) -> Optional[ModuleSpec]:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec: Optional[ModuleSpec] = None if finder is self or find is None else find(_NET_SPEC, path, target)
            if spec is not None:
                spec.loader = _Extender(spec.loader)
                return spec
        return None


def _extend(net_spec: Any) -> None:
    """Let ``to_proto`` make messages of ours where Caffe's have not the fields; where they have, nothing changes."""
    theirs = net_spec.NetSpec.to_proto

    def to_proto(self: Any) -> Any:
        """The NetParameter."""
        try:
            return theirs(self)
        except AttributeError:
            with with_our_fields(net_spec):
                return theirs(self)

    net_spec.NetSpec.to_proto = to_proto


def install() -> None:
    """Have the old names found from now on; once is enough."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.append(_Finder(for_net_spec=False))
    if _NET_SPEC in sys.modules:
        _extend(sys.modules[_NET_SPEC])
    else:
        sys.meta_path.insert(0, _Finder(for_net_spec=True))
