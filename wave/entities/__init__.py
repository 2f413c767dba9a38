"""Who: keys, signed records of entities, the secret files that hold their seeds, and the ring of files on disk."""

from wave.entities.entity import EVERYBODY, Entity, EntitySecret
from wave.entities.object import SignedObject, decode_object

__all__ = ["EVERYBODY", "Entity", "EntitySecret", "SignedObject", "decode_object"]
