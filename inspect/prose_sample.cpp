#include "inspect/prose_sample.h"

namespace ingot::inspect {

const std::string_view kProseSample =
    R"(Once upon a time there was an old man who lived in a small house at the edge of a village. Every morning he got up before the sun, made a cup of tea, and walked down to the river with his dog. The dog was big and brown, and he loved to run in front of the old man and bark at the birds. One day, when they came to the river, they saw a little girl sitting on a stone. She was crying.

"What is wrong?" asked the old man.

"I was looking for my cat," said the girl. "She ran away last night, and now I do not know how to get home."

The old man smiled and took her hand. "Do not be afraid," he said. "My dog can find anything. Let us look for your cat together, and then we will take you home."

They walked along the river for a long time. The sun came up, and it was getting warm. The dog put his nose to the ground and began to run. At last he stopped under a tall tree and looked up. There, on a branch, sat a small white cat. She was too scared to come down. The old man was not as young as he used to be, but he climbed up the tree very slowly and took the cat in his arms. The girl was so happy that she laughed and danced. "Thank you!" she said. "You are the best man in the world, and you have the best dog."

From that day on, the girl and her mother came to see the old man every week. They brought him bread and apples, and he told them stories about the time when he was young. And the cat and the dog became good friends.

A river begins as a small stream in the hills. Rain falls on the ground, and some of the water runs down the slopes until it finds a way between the stones. Other streams join it, and it becomes wider and deeper. On its way to the sea it passes forests, fields and towns. People have always lived near rivers, because they need water to drink, to grow food, and to carry goods from one place to another. In the past, most large cities were built on the banks of a river, and many of them still have a bridge as old as the city itself.

When it rains for many days, a river may rise above its banks and cover the land around it. Such floods can destroy houses and roads, but they also leave fine mud behind, which makes the soil rich. In summer, when there is little rain, the water may be so low that boats can no longer pass. Today, dams and canals help to control how much water flows through a river at any time of the year. They also produce power, and they store water for the dry months. But they change the life of the fish and the plants, and that is why people do not agree on how many of them should be built.)";

const std::array<std::string_view, 5> kPrompts = {
    "Once upon a time, there was a little girl who",
    "The capital of France is",
    "Water is made of hydrogen and",
    "One, two, three, four, five,",
    "She opened the door and saw",
};

}  // namespace ingot::inspect
