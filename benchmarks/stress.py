"""stub"""

SCENARIOS = []


def assert_nothing_is_left(database):
    graph = database.graph
    for entry in graph.entries():
        obj = entry()
        assert entry.mask is None, (entry.oid, entry.mask.chain, entry.mask.holders)
        if obj is not None:
            faces = type(obj)._p_faces
            assert type(obj) in (faces.plain, faces.ghost)
    assert graph._masked == []
    assert set(graph.horizon._snapshots.values()) <= {graph.tid}
