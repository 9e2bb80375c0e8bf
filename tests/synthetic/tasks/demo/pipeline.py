from steerwright.dag import File, stage
from tasks.draw_pictures import draw_pictures
from tasks.left import left
from tasks.make_numbers import make_numbers
from tasks.make_shards import make_shards
from tasks.right import right
from tasks.train_weights import train_weights
from tasks.write_report import write_report

weights = stage("base-weights", train_weights, frozen=True, outs={"weights": "models/weights.txt"})
numbers = stage("demo-numbers", make_numbers, weights=File("models/weights.txt"))
shards = stage("demo-shards", make_shards, numbers=numbers.out("numbers"))
to_the_left = stage("demo-left", left, shards=shards.out("shards"))
to_the_right = stage("demo-right", right, shards=shards.out("shards"))
pictures = stage("demo-pictures", draw_pictures, left=to_the_left.out("result"), right=to_the_right.out("result"))
report = stage("demo-report", write_report, pictures=pictures.out("pictures"))
