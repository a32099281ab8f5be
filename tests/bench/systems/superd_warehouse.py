"""A second service, of many methods: with those of the first they are more than 200."""

from typing import Final

from superd.service import Service
from superd_client.contract import Method
from tests.bench.systems.superd_api import Item, Lookup
from tests.bench.systems.superd_service import compute

MANY: Final = 200

warehouse: Final = Service("warehouse", version="1.0.0")

for _number in range(MANY):
    warehouse.method(Method(f"warehouse.lookup_{_number}", Lookup, Item), inline=True)(compute)
