# SPDX-License-Identifier: MIT OR 0BSD
"""Which public classes may be subclassed, and whose objects may be pickled:
doc/python says the same."""

import copy
import pickle

import pytest

from classes import CLASSES, end, public_classes


def test_each_public_class_is_here():
    assert public_classes() == set(CLASSES)


@pytest.mark.parametrize('cls', CLASSES, ids=lambda cls: cls.__name__)
def test_subclasses(cls):
    if CLASSES[cls][1]:
        assert issubclass(type('Derived', (cls,), {}), cls)
    else:
        with pytest.raises(TypeError):
            type('Derived', (cls,), {})


@pytest.mark.parametrize('cls', CLASSES, ids=lambda cls: cls.__name__)
def test_pickles(cls, tmp_path):
    (make, _, pickles) = CLASSES[cls]
    thing = make(str(tmp_path))
    try:
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            if not pickles:
                with pytest.raises(TypeError):
                    pickle.dumps(thing, protocol)
                continue
            other = pickle.loads(pickle.dumps(thing, protocol))
            assert type(other) is cls and repr(other) == repr(thing)
        if pickles:
            assert repr(copy.copy(thing)) == repr(thing)
        else:
            with pytest.raises(TypeError):
                copy.deepcopy(thing)
    finally:
        end(thing)
